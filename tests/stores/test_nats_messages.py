"""Frames as messages: nothing is lost on the way, and no writer's name is too odd for a subject."""

from __future__ import annotations

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import DamagedFrame
from rat_fsm.stores.nats.messages import (
    HEADER,
    Message,
    header_of,
    headers_of,
    stored_of,
    token_of,
)
from rat_fsm.stores.port import Frame, StoredFrame
from rat_fsm.testing.store_contract import make_frame

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=512)
NUMBERS = st.integers(0, 2**63 - 1)
FRAMES = st.builds(
    Frame,
    writer=NAMES,
    first=NUMBERS,
    count=NUMBERS,
    first_at=NUMBERS,
    last_at=NUMBERS,
    fingerprints=st.lists(st.text("0123456789abcdef"), max_size=3).map(tuple),
    salt=st.binary(min_size=16, max_size=16),
    body=st.binary(max_size=50),
    prev=st.binary(min_size=32, max_size=32),
    hash=st.binary(min_size=32, max_size=32),
)


@given(FRAMES, NUMBERS)
def test_a_frame_comes_back_as_it_was(frame: Frame, position: int) -> None:
    """Through the header line as a server keeps it, and the payload."""
    raw = f"NATS/1.0\r\n{HEADER}: {header_of(frame)}\r\n\r\n".encode("ascii")
    assert stored_of(Message(position, headers_of(raw), frame.body)) == StoredFrame(position, frame)


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_names_become_legal_and_different_tokens(names: list[str]) -> None:
    """Without dots, spaces and wildcards, short enough for a control line, each its own."""
    tokens = [token_of(name) for name in names]
    assert tokens[0] != tokens[1]
    assert all(re.fullmatch(r"[\x21-\x7e]{1,200}", token) for token in tokens)
    assert not any(set(".*> ") & set(token) for token in tokens)


def test_a_token_is_readable_and_no_name_looks_like_a_hashed_one() -> None:
    """What a person sees in the server's tools is the writer's name, where that is possible."""
    long = token_of("x" * 512)
    assert (token_of("w0"), token_of("eu.web-1"), token_of("*")) == ("w0", "eu%2Eweb-1", "%2A")
    assert (long[0], len(long)) == ("=", 65)
    assert token_of(long) == "%3D" + long[1:]


@pytest.mark.parametrize(
    "line",
    [
        None,
        "",
        "{}",
        "null",
        header_of(make_frame()).replace('"first":1', '"first":"1"'),
        header_of(make_frame()).replace('"salt":"00', '"salt":"zz'),
        header_of(make_frame())[:-1],
    ],
)
def test_what_is_no_frame_is_damaged(line: str | None) -> None:
    """Anybody who may publish can put anything into a stream: the position says where it is."""
    headers = {} if line is None else {HEADER: line}
    with pytest.raises(DamagedFrame) as caught:
        stored_of(Message(7, headers, b""))
    assert caught.value.position == 7


def test_a_changed_header_is_another_frame() -> None:
    """What the header says is what the frame says, for its hash to judge."""
    frame = make_frame()
    changed = attrs.evolve(frame, count=2)
    assert stored_of(Message(1, {HEADER: header_of(changed)}, frame.body)).frame == changed
