"""No secret of a URL is in what is shown of it, or in what is said about it."""

from __future__ import annotations

from urllib.parse import quote

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rat_fsm.errors import InvalidArgument
from rat_fsm.stores import open_store
from rat_fsm.stores.credentials import address_of, scrubbed
from rat_fsm.stores.nats.address import parse

SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=8)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u:p@host:5432/db?sslmode=require", "postgresql://host:5432/db"),
        ("postgresql://u:p@h1:1,h2:2/db", "postgresql://h1:1,h2:2/db"),
        ("postgresql:///db?user=u&password=p", "postgresql:///db"),
        ("postgresql://u:p@ss@host/db", "postgresql://host/db"),
        ("postgresql://u:p?ss@host/db#x", "postgresql://host/db"),
        ("nats://token@[::1]:4222/stream?replicas=3", "nats://[::1]:4222/stream"),
        ("postgresql://u:p/ss@host/db?x=y", "postgresql://host/db"),
        ("postgresql://u:p/ss?w#o@host/db?x=y", "postgresql://host/db"),
        ("postgresql:", "postgresql:"),
        ("memory:", "memory:"),
    ],
)
def test_an_address_has_neither_user_nor_options(url: str, address: str) -> None:
    """What is shown of a URL is scheme, hosts and path."""
    assert address_of(url) == address


@given(password=SECRETS, user=SECRETS, value=SECRETS)
def test_nothing_secret_is_left_in_a_message(password: str, user: str, value: str) -> None:
    """However a driver spells what it was given, user, password and values are gone."""
    quoted = [quote(secret, safe="") for secret in (user, password, value)]
    url = "nats://{}:{}@host/s?key={}".format(*quoted)
    assert address_of(url) == "nats://host/s"
    for secret in (user, password, value, *quoted):
        assert scrubbed(f"no <{secret}> at {url}", url).startswith("no <…")


# Each has a password that was not escaped, which some reader takes for something else in part.
UNESCAPED = [
    "u:Pa/Ss?Word@h/db",
    "u:Pa/Ss#Word@h/db",
    "u:Pa?Ss/Word@h/db",
    "u:Pa?Ss=1&Word=2/x@h/db",
    "u:Pa/Ssw=x?lease=1&Word@h/db",
    "u:9/Ssw?Word=1@h/db",
    "u:9/Ss?host=127.0.0.1&Word@h/db",
    "u:Pa@Ss?Word@h/db",
    "u:Pa@Ss@h/db",
    "u:Pa/Ss@h/db",
    "h/db?user=u&password=Pa/Ss@Word",
    "h/db?password=Pa&SsWord",
]


@pytest.mark.parametrize("scheme", ["postgresql", "nats"])
@pytest.mark.parametrize("rest", UNESCAPED)
def test_a_password_that_was_not_escaped_is_not_taken_for_something_else(
    scheme: str, rest: str
) -> None:
    """Not for a host, a database or the name of an option, which a message would repeat."""
    pytest.importorskip("psycopg", exc_type=ImportError)
    with pytest.raises(InvalidArgument) as caught:
        open_store(f"{scheme}://{rest}", writable=True)
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert not [part for part in ("Pa", "Ss", "Word") if part in shown]


PARTS = [f"{before}Secret{after}" for before in "@/?#:&%,[ 9" for after in ("", "=1")]


@given(st.lists(st.sampled_from(["9", *PARTS]), min_size=1))
def test_however_a_password_is_written_nothing_of_it_is_repeated(parts: list[str]) -> None:
    """Neither by a URL that can be read with it, nor by what is said of one that cannot."""
    pytest.importorskip("psycopg", exc_type=ImportError)
    from rat_fsm.stores.postgres import address as postgres

    password = "".join(parts)
    for read, scheme in ((parse, "nats"), (postgres.parse, "postgresql")):
        shown = address_of(f"{scheme}://u:{password}@h/s")
        try:
            shown += repr(read(f"{scheme}://u:{password}@h/s"))
        except InvalidArgument as problem:
            shown += f"{problem!r} {problem.__cause__!r}"
        assert "Secret" not in shown


def test_a_password_that_was_escaped_is_taken_as_it_is() -> None:
    """As is an @ in an option; what need not be escaped may be left as it is."""
    for good in ("nats://u:p%40%2F%3A%25@h/s", "nats://t@h,i/s?creds=/a%40b", "nats://u:p!$&=@h/s"):
        assert parse(good).servers[0] == "h:4222"


def test_words_that_only_look_alike_stay() -> None:
    """A user called like a part of a word, and short values, do not make a message unreadable."""
    url = "nats://on:pw-1234@host/s?replicas=3&name=rate"
    said = scrubbed("connection 3 of rate was refused, on host: pw-1234", url)
    assert said == "connection 3 of … was refused, on host: …"
