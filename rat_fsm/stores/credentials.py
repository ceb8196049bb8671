"""Keeps what a URL holds of credentials out of addresses, messages and logs."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from rat_fsm.classification import redact_urls

HIDDEN: Final = "…"
# A user may be called "a": replaced wherever it stands as a word, so short values are left alone.
SHORTEST: Final = 3
# An unescaped password may hold any of the characters that end one; then nothing up to it is shown.
_URL: Final = re.compile(
    r"(?P<scheme>[^:/?#]+:(?://)?)(?P<secret>[^/]*@|[^?#]*@)?(?P<rest>[^?#]*)(?:\?(?P<query>.*))?",
    re.DOTALL,
)


def address_of(url: str) -> str:
    """A URL without userinfo, query and fragment: what may be shown and recorded."""
    found = _URL.match(url)
    return found["scheme"] + found["rest"].rpartition("@")[2] if found else redact_urls(url)


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
