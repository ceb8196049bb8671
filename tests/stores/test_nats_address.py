"""What a ``nats:`` URL may say, and what is never said of it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument
from rat_fsm.stores import open_store
from rat_fsm.stores.nats.access import Access
from rat_fsm.stores.nats.address import Address, parse

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cr3t-Zq9"  # noqa: S105 - nobody's


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "PASSWORD", "CREDS", "NKEY", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"NATS_{name}", raising=False)


def test_a_url_says_where_and_how() -> None:
    """Servers with their ports, the stream, and the options that are ours."""
    url = "nats://a,b:5000,[::1]:4223/events?replicas=3&worm=1&lease=2.5&max_bytes=1000&domain=hub"
    assert parse(url) == Address(
        servers=("a:4222", "b:5000", "[::1]:4223"),
        stream="events",
        replicas=3,
        worm=True,
        lease=2.5,
        max_bytes=1000,
        domain="hub",
        given=url,
    )
    assert parse(url).url == "nats://a:4222,b:5000,[::1]:4223/events"


@pytest.mark.parametrize(
    ("url", "access"),
    [
        ("nats://h/s", Access()),
        ("nats://me:p%40ss%3A@h/s", Access(user="me", password="p@ss:")),  # noqa: S106
        ("nats://t0ken@h/s", Access(user="t0ken")),
        ("nats://h/s?creds=/a.creds", Access(creds="/a.creds")),
        (
            "nats://h/s?nkey=/a.nk&tlsca=/ca&tlscert=/c&tlskey=/k",
            Access(nkey="/a.nk", tlsca="/ca", tlscert="/c", tlskey="/k"),
        ),
    ],
)
def test_a_url_says_how_to_get_in(url: str, access: Access) -> None:
    """A user and password, a token, or files."""
    assert parse(url).access == access


def test_what_a_url_leaves_out_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the variables of the nats command line, unless the URL says who it is."""
    monkeypatch.setenv("NATS_USER", "me")
    monkeypatch.setenv("NATS_PASSWORD", SECRET)
    monkeypatch.setenv("NATS_CA", "/ca")
    assert parse("nats://h/s").access == Access(user="me", password=SECRET, tlsca="/ca")
    assert parse("nats://you@h/s?tlsca=/mine").access == Access(user="you", tlsca="/mine")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nats://h", "ends with the name of a stream"),
        ("nats://h/a.b", "ends with the name of a stream"),
        ("nats://h/a/b", "ends with the name of a stream"),
        ("nats:///s", "names its servers"),
        ("nats://h:x/s", "names its servers"),
        ("nats://h,/s", "names its servers"),
        ("nats://[::1/s", "cannot be read"),
        ("nats://h/s?replica=3", "no option 'replica'; there are creds, domain, lease, max_bytes"),
        ("nats://h/s?replicas=9", "replicas.* from 1 to 5"),
        ("nats://h/s?max_bytes=0", "max_bytes.*a number of bytes"),
        ("nats://h/s?lease=0.1", "lease.*at least 0.2"),
        ("nats://h/s?lease=nan", "lease.*at least 0.2"),
        ("nats://h/s?worm=yes", "worm.*0 or 1"),
        ("nats://h/s?creds=", "creds.*empty"),
        ("nats://h/s?monitor=h:8222", "monitor.*the URL of a monitoring port"),
        ("nats://h/s?worm", "cannot be read"),
    ],
)
def test_a_wrong_url_is_refused(url: str, problem: str, tmp_path: Path) -> None:
    """Before anything is connected, with words about what is wrong."""
    del tmp_path
    with pytest.raises(InvalidArgument, match=problem):
        open_store(url)


@given(
    st.sampled_from(["h", "h:x", "h,", "[::1", ""]),
    st.sampled_from(["/s", "", "/a.b", "/s?x=1", "/s?lease=" + SECRET, "/s?creds=/" + SECRET]),
    st.sampled_from(["u:" + SECRET, SECRET, f"u:{SECRET}@w", f"u:{SECRET}/w"]),
)
@example("h", "/s", "u:" + SECRET)
def test_nothing_secret_is_ever_repeated(hosts: str, rest: str, userinfo: str) -> None:
    """Neither an error nor an address or its repr has the password, whatever the URL looks like."""
    try:
        address = parse(f"nats://{userinfo}@{hosts}{rest}")
    except InvalidArgument as problem:
        said = f"{problem!r} {problem.__cause__!r}"
    else:
        known = address.access.password or address.access.user
        said = f"{address!r} {address.url} {address.scrubbed(OSError(f'no {known} {rest}'))}"
    assert SECRET not in said
