"""Keeps what a URL holds of credentials out of addresses, messages and logs."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from rat_fsm.classification import redact_urls
from rat_fsm.errors import InvalidArgument

HIDDEN: Final = "…"
# A user may be called "a": replaced wherever it stands as a word, so short values are left alone.
SHORTEST: Final = 3
# Where nobody can tell which @ ends an unescaped password, nothing up to the last is shown.
_URL: Final = re.compile(
    r"(?P<scheme>[^:/?#]+:(?://)?)(?P<secret>.*@)?(?P<rest>[^?#]*)(?:\?(?P<query>.*))?", re.DOTALL
)


def check_escaped(url: str) -> None:
    """Refuses a URL that might be read with a part of a password as something else.

    Raises:
        InvalidArgument: it has an @ that ends no user and password, or several of them.
    """
    authority, _, rest = url.partition("://")[2].partition("/")
    if "@" in rest or authority.count("@") > 1:
        raise InvalidArgument(
            "a URL has one @, after the user and the password; in these, and wherever else it "
            "stands, @ is written as %40, / as %2F, : as %3A and % as %25"
        )


def address_of(url: str) -> str:
    """A URL without userinfo, query and fragment: what may be shown and recorded."""
    found = _URL.match(url)
    return found["scheme"] + found["rest"] if found else redact_urls(url)


def scrubbed(text: str, url: str) -> str:
    """A text without the secrets of a URL, such as a driver's message about it.

    The password goes wherever it stands; the user and the values of the query go where they
    stand as words of three characters or more. Any URLs in the text lose theirs too.
    """
    found = _URL.match(url)
    user, _, password = ((found and found["secret"]) or "").removesuffix("@").partition(":")
    options = ((found and found["query"]) or "").split("&")
    for secret in _spellings(password):
        text = text.replace(secret, HIDDEN)
    for value in _spellings(user, *(option.partition("=")[2] for option in options)):
        if len(value) >= SHORTEST:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", HIDDEN, text)
    return redact_urls(text)


def _spellings(*values: str) -> list[str]:
    """Each value as it stands in the URL and as it is meant, the longest first."""
    both = {spelling for value in values for spelling in (value, unquote(value)) if spelling}
    return sorted(both, key=len, reverse=True)
