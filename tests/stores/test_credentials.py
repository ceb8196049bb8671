"""No secret of a URL is in what is shown of it, or in what is said about it."""

from __future__ import annotations

from urllib.parse import quote

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rat_fsm.stores.credentials import address_of, scrubbed

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


def test_words_that_only_look_alike_stay() -> None:
    """A user called like a part of a word, and short values, do not make a message unreadable."""
    url = "nats://on:pw-1234@host/s?replicas=3&name=rate"
    said = scrubbed("connection 3 of rate was refused, on host: pw-1234", url)
    assert said == "connection 3 of … was refused, on host: …"
