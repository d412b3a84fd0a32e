"""URIs and addresses as they may be shown: without a password, a token, or the values of a query string."""

import json
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
USER = re.compile(r"(?:(?<=://)|^(?!\w[\w+.-]*://))(?!/).*@")
"""User and password, or a token, up to the last @: a password may hold any other sign, quoted or not."""


def kind_of(uri: str) -> str:
    """The scheme without a database's driver: `postgresql` of postgresql+psycopg2://host/database."""
    return uri.partition(":")[0].partition("+")[0]


def is_database(uri: str) -> bool:
    """Whether a program opens a database itself, and does not ask a server."""
    return kind_of(uri) in DATABASES


def without_password(uri: str) -> str:
    """A URI that may be shown: no password, no token in place of a user, no value of a query string."""
    secret = _secret(uri)
    shown = uri.replace(f"{secret}@", "***@", 1) if secret else uri
    address, mark, query = shown.partition("?")
    return address + mark + re.sub(r"=[^&]*", "=***", query)


def without_secrets(text: str, uri: str) -> str:
    """A text, such as an error's, without what `without_password` hides."""
    secret = _secret(uri)
    values = [value for _, value in parse_qsl(uri.partition("?")[2])]
    return without_words(text.replace(uri, without_password(uri)), [secret, unquote(secret), *values])


def without_words(text: str, words: Iterable[str]) -> str:
    """A text with *** in place of words, also as JSON writes them."""
    for form in {form for word in words for form in (word, json.dumps(word)[1:-1])} - {""}:
        text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "***", text)
    return text


def _secret(uri: str) -> str:
    """The password; to a server, a name without a password may be a token."""
    found = USER.search(uri)
    user, colon, password = found[0][:-1].partition(":") if found else ("", "", "")
    return password if colon or is_database(uri) else user
