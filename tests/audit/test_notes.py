"""Signed notes are those of other tools, and what is none is refused."""

from __future__ import annotations

import base64
import contextlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.audit.keys import PrivateKey, PublicKey
from rat_fsm.audit.notes import MAX_NOTE, parse_note, sign_note
from rat_fsm.errors import InvalidArgument, Unproven
from tests.audit.published import PRIVATE, PUBLIC

pytest.importorskip("cryptography")

# The note of the tests of golang.org/x/mod/sumdb/note.
TEXT: Final = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNED: Final = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpR"
    "Zb6KE6RyyBwJnAM=\n"
)
NOTE: Final = f"{TEXT}\n{SIGNED}"
KEY: Final = PrivateKey.parse(PRIVATE)
OTHER: Final = PrivateKey("other.example", bytes(range(32)))


def test_the_note_of_another_implementation() -> None:
    """Ed25519 signs the same way everywhere: our note is the published one, byte for byte."""
    assert sign_note(TEXT, KEY) == NOTE
    note = parse_note(NOTE.encode())
    assert note.text == TEXT
    note.check(PublicKey.parse(PUBLIC))


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\n"))


@given(texts)
def test_a_note_is_read_as_it_was_signed(text: str) -> None:
    """Whatever lines it has, empty ones and odd ones too, the text is what was signed."""
    note = parse_note(sign_note(f"{text}\n", KEY).encode())
    assert note.text == f"{text}\n"
    note.check(KEY.public)


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: f"{text}\n\n— a ".encode()))
def test_any_bytes_are_a_note_or_refused(content: bytes) -> None:
    """Whatever is read, nothing else is raised."""
    with contextlib.suppress(InvalidArgument):
        assert parse_note(content).text.endswith("\n")


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(1, 255))
def test_no_byte_of_a_note_is_another(place: int, by: int) -> None:
    """Every change of a signed note is refused, or leaves no signature that holds."""
    changed = bytearray(NOTE.encode())
    changed[place] ^= by
    with pytest.raises((InvalidArgument, Unproven)):
        parse_note(bytes(changed)).check(KEY.public)


def test_signatures_of_others_say_nothing() -> None:
    """A note may be signed by many; it is enough that the key asked for is among them."""
    both = NOTE + sign_note(TEXT, OTHER).rpartition("\n\n")[2]
    note = parse_note(both.encode())
    note.check(KEY.public)
    note.check(OTHER.public)
    stranger = PrivateKey("other.example", bytes(32)).public
    with pytest.raises(Unproven, match=r"not signed by other\.example\+.*, but by Peter.*, other"):
        note.check(stranger)


def test_one_signature_that_does_not_hold_is_enough() -> None:
    """A note that is signed twice by a key, once wrongly, is refused."""
    wrong = SIGNED.replace("RyyBwJnAM=", "RyyBwJnBM=")
    assert wrong != SIGNED
    for lines in (SIGNED + wrong, wrong + SIGNED):
        with pytest.raises(Unproven, match="does not hold"):
            parse_note(f"{TEXT}\n{lines}".encode()).check(KEY.public)


def line(name: str, raw: bytes) -> str:
    """A signature line."""
    return f"— {name} {base64.b64encode(raw).decode()}\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        NOTE.removesuffix("\n").encode(),
        b"\x01" + NOTE.encode(),
        b"\xff" + NOTE.encode(),
        f"\r\n{NOTE}".encode(),
        NOTE.replace("—", "-").encode(),
        NOTE.replace("— ", "—").encode(),
        f"{NOTE}Unexpected line.\n".encode(),
        f"{NOTE}{line('Bad Name', bytes(68))}".encode(),
        f"{NOTE}{line('bad+name', bytes(68))}".encode(),
        f"{NOTE}{line('', bytes(68))}".encode(),
        f"{NOTE}{line('short', bytes(4))}".encode(),
        f"{NOTE}— a AAAAAAB=\n".encode(),
        f"{NOTE}— a\n".encode(),
        (NOTE + 100 * line("a", bytes(68))).encode(),
        b"a" * MAX_NOTE + NOTE.encode(),
    ],
)
def test_what_is_no_note(content: bytes) -> None:
    """Whatever departs from the format is refused as a whole."""
    with pytest.raises(InvalidArgument):
        parse_note(content)


def test_sixteen_signatures_and_more_are_read() -> None:
    """As many as the specification asks for, and up to a hundred."""
    note = parse_note((NOTE + 99 * line("a", bytes(5_000))).encode())
    assert len(note.signatures) == 100
    note.check(KEY.public)


@pytest.mark.parametrize("text", ["", "a", "a\r\n", "a\tb\n", "a\x00\n"])
def test_what_cannot_be_signed(text: str) -> None:
    """A text that no reader would accept is not signed."""
    with pytest.raises(InvalidArgument):
        sign_note(text, KEY)
