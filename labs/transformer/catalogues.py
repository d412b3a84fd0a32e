"""Real sentences in English and Traditional Chinese: what installed packages say to their users in both languages.

Programs keep translations of their messages in catalogues, one a language: gettext's `.mo` files (the standard
library's `gettext` reads them), in folders named after the language. Django has some 800 messages of one to fifty
words.
"""

import gettext
import re
from importlib.metadata import distributions
from pathlib import Path

from labs.core.errors import BadInput

FOLDERS = ("zh_Hant", "zh_TW", "zh_HK")
"""Languages that are written in Traditional Chinese."""
CHINESE = re.compile("[\u4e00-\u9fff]")


class Catalogue(gettext.GNUTranslations):
    """A `.mo` file whose messages can be listed, which the base class has no public way for."""

    _catalog: dict[str | tuple[str, int], str]

    def messages(self) -> list[tuple[str, str]]:
        """English and its translation; of a message with a plural, its first form."""
        found = []
        for key, translation in self._catalog.items():
            english = key if isinstance(key, str) else key[0]
            found.append((english.split("\x04")[-1], translation))  # what is before it says where a message stands
        return found


def messages() -> list[tuple[str, str]]:
    """English and Chinese of all catalogues of installed packages, in order, each English message once.

    Raises:
        BadInput: there are fewer than 100 messages.
    """
    found: dict[str, str] = {}
    for file in files():
        with file.open("rb") as handle:
            for pair in Catalogue(handle).messages():
                english, chinese = (" ".join(side.split()) for side in pair)
                if english and CHINESE.search(chinese):
                    found.setdefault(english, chinese)
    if len(found) < 100:
        raise BadInput(
            f"the message catalogues of the installed packages have {len(found)} of the at least 100 messages in "
            "Traditional Chinese that are needed: `pip install django` brings some 800"
        )
    return sorted(found.items())


def files() -> list[Path]:
    """Catalogues of Traditional Chinese among the files of the installed packages."""
    return sorted(
        Path(str(file.locate()))
        for package in distributions()
        for file in package.files or ()
        if file.suffix == ".mo" and not set(FOLDERS).isdisjoint(file.parts)
    )
