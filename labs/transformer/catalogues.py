"""Real sentences in English and Traditional Chinese: the translated messages of installed packages.

Programs keep the translations of their messages in catalogues, one for each language: gettext's `.mo` files, in folders
named after the language, which the standard library's `gettext` reads. Django has about 800 messages of 1 to 50 words.
"""

import gettext
import re
from importlib.metadata import distributions
from pathlib import Path

from labs.core.errors import BadInput

FOLDERS = ("zh_Hant", "zh_TW", "zh_HK")
"""Language codes of Traditional Chinese, the names of catalogues' folders."""
CHINESE = re.compile("[\u4e00-\u9fff]")


class Catalogue(gettext.GNUTranslations):
    """A `.mo` file whose messages can be listed; the base class has no public method for this."""

    _catalog: dict[str | tuple[str, int], str]

    def messages(self) -> list[tuple[str, str]]:
        """(English, translation) of each message; a message with plural forms gives its first form."""
        found = []
        for key, translation in self._catalog.items():
            english = key if isinstance(key, str) else key[0]
            found.append((english.split("\x04")[-1], translation))  # gettext puts the context, if any, before a byte 4
        return found


def messages() -> list[tuple[str, str]]:
    """(English, Chinese) messages of all installed packages, sorted, each English message once.

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
            f"the message catalogues of the installed packages have {len(found)} messages in Traditional Chinese, "
            "expected at least 100: `pip install django` adds about 800"
        )
    return sorted(found.items())


def files() -> list[Path]:
    """The `.mo` files in Traditional Chinese of all installed packages."""
    return sorted(
        Path(str(file.locate()))
        for package in distributions()
        for file in package.files or ()
        if file.suffix == ".mo" and not set(FOLDERS).isdisjoint(file.parts)
    )
