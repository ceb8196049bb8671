"""Checkpoints: their lines, and what is refused as one."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.audit.checkpoints import Checkpoint, parse_checkpoint, read_checkpoint
from rat_fsm.errors import InvalidArgument, StoreUnreadable, UnsupportedFormat
from rat_fsm.log.heads import Head

if TYPE_CHECKING:
    from pathlib import Path

ROOT: Final = base64.b64encode(bytes(range(32))).decode()
ZERO: Final = base64.b64encode(bytes(32)).decode()
HEADS: Final = {
    "w0": Head(4711, "00" * 32),
    "a b/ü\u202e%+\n": Head(2, bytes(range(32)).hex()),
}
TEXT: Final = f"""\
example.com/log
20852163
{ROOT}
rat_fsm leaves 1
rat_fsm head a%20b%2F%C3%BC%E2%80%AE%25%2B%0A 2 {ROOT}
rat_fsm head w0 4711 {ZERO}
"""
CHECKPOINT: Final = Checkpoint("example.com/log", 20852163, bytes(range(32)), HEADS)
hashes = st.binary(min_size=32, max_size=32)
lines = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]), min_size=1)
checkpoints = st.builds(
    Checkpoint,
    lines,
    st.integers(0, 10**18 - 1),
    hashes,
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1),
        st.builds(Head, st.integers(0, 10**18 - 1), hashes.map(bytes.hex)),
    ),
)


def test_its_lines() -> None:
    """Origin, size and root as in the specification, then what makes a leaf, then the heads."""
    assert CHECKPOINT.text() == TEXT
    assert parse_checkpoint(TEXT) == CHECKPOINT


@given(checkpoints)
def test_it_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    """Whatever writers are called, each line is one and stands for one thing."""
    assert parse_checkpoint(checkpoint.text()) == checkpoint


def test_lines_of_others_are_passed_over() -> None:
    """The specification lets anybody add lines; a signature covers them all the same."""
    assert parse_checkpoint(f"{TEXT}Timestamp: 7\nrat_fsmx\n") == CHECKPOINT


@pytest.mark.parametrize(
    "origin", ["", "a\nb", "a\u2028b", "\u202ea", "a" * 257, "a\x1b[2J", "\ud800"]
)
def test_an_origin_that_is_no_line(origin: str) -> None:
    """What would end a line, or turn it round, is refused both ways."""
    with pytest.raises(InvalidArgument):
        Checkpoint(origin, 0, bytes(32), {}).text()
    with pytest.raises(InvalidArgument):
        parse_checkpoint(f"{origin}\n1\n{ROOT}\nrat_fsm leaves 1\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "a\n1\n",
        f"a\n1\n{ROOT}\n",
        f"\n1\n{ROOT}\nrat_fsm leaves 1\n",
        f"{TEXT}\n",
        TEXT.replace("\n20852163\n", "\n\n"),
        *(TEXT.replace("20852163", size) for size in ("-1", "+1", "01", " 1", "1 ", "1.0", "x")),
        *(TEXT.replace("20852163", size) for size in ("\u0661", "9" * 19, "9" * 100_000)),
        *(TEXT.replace(ROOT, root) for root in ("", ROOT[:-4], ROOT[:-1], f"{ROOT}A", "x" * 44)),
        TEXT.replace("rat_fsm leaves 1\n", ""),
        *(TEXT.replace("head w0 4711", f"head w0 {number}") for number in ("x", "-1", "07", "")),
        *(
            TEXT.replace("head w0", f"head {name}")
            for name in ("w 0", "", "%57", "%FF", "ü", "%c3")
        ),
        TEXT.replace(ZERO, "AAAA"),
        f"{TEXT}rat_fsm head w0 1 {ROOT}\n",
        f"{TEXT}rat_fsm something else\n",
        f"{TEXT}rat_fsm \n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    """Whatever departs from the format is refused, in one line that is not long."""
    with pytest.raises(InvalidArgument) as refused:
        parse_checkpoint(text)
    assert (str(refused.value).count("\n"), len(str(refused.value)) < 400) == (0, True)


def test_a_checkpoint_of_a_newer_version() -> None:
    """Leaves that are made otherwise cannot be recomputed here, and that is said."""
    with pytest.raises(UnsupportedFormat, match="newer rat_fsm"):
        parse_checkpoint(TEXT.replace("leaves 1", "leaves 2"))


@given(st.text())
def test_any_text_is_a_checkpoint_or_refused(text: str) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(InvalidArgument, UnsupportedFormat):
        parse_checkpoint(f"a\n1\n{ROOT}\nrat_fsm leaves 1\nrat_fsm {text}\n")


def test_a_file_is_read(tmp_path: Path) -> None:
    """A checkpoint in a file comes with its note; others are named with the file."""
    file = tmp_path / "cp"
    file.write_text(f"{TEXT}\n— example.com/log AAAAAAAA\n")
    checkpoint, note = read_checkpoint(file)
    assert (checkpoint, note.text, len(note.signatures)) == (CHECKPOINT, TEXT, 1)
    for content in (b"", b"\xff", TEXT.encode(), b"a\n" * 10**6, b"a\n\n\xe2\x80\x94 a AAAAAAAA\n"):
        file.write_bytes(content)
        with pytest.raises(InvalidArgument, match=f"^{file}: that is no "):
            read_checkpoint(file)
    for name in ("missing", ".", "x" * 300, "a\0b"):
        with pytest.raises(StoreUnreadable, match="no checkpoint at"):
            read_checkpoint(tmp_path / name)
