"""Which ids somebody meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.replay.naming import near_misses

IDS = ["conn-0000012", "conn-0000013", "Room-7", "w0:1", "名前"]


def test_what_is_likely() -> None:
    """A part of an id, another case, and a slip of the finger are understood."""
    assert near_misses(IDS, "0000012") == ["conn-0000012"]
    assert near_misses(IDS, "room-7") == ["Room-7"]
    assert near_misses(IDS, "conn-0000021")[:2] == ["conn-0000012", "conn-0000013"]
    assert near_misses(IDS, "名") == ["名前"]
    assert near_misses(IDS, "nobody") == []
    assert near_misses(IDS, "") == []
    assert near_misses(["1", "n"], "conn-12") == []


def test_the_likeliest_come_first() -> None:
    """What differs least; of those alike, what sorts first; each once, and not too many."""
    ids = [f"conn-{number}" for number in range(100)]
    assert near_misses([*ids, *ids], "conn-5", most=3) == ["conn-5", "conn-50", "conn-51"]


@given(st.lists(st.text()), st.text(), st.integers(0, 4))
def test_anything_can_be_asked(ids: list[str], wanted: str, most: int) -> None:
    """It answers with some of the ids, whatever they are, and finds one that is there first."""
    found = near_misses([*ids, "a" * 5000], wanted, most)
    assert set(found) <= {*ids, "a" * 5000}
    assert len(found) <= most
    if wanted in ids and wanted and most:
        assert found[0].casefold() == wanted.casefold()
