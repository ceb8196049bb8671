"""The tables that frames name by their fingerprints."""

from __future__ import annotations

from rat_fsm.codec import definitions
from rat_fsm.events import Started
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.projections.definitions import UNDEFINED
from rat_fsm.replay.sources import naming
from rat_fsm.replay.tables import STARTED, Tables
from rat_fsm.table import fingerprint_of
from tests.histories import Recorder
from tests.orders import OLD_ORDER, ORDER
from tests.replay.written import store_of


def test_definitions_are_found_where_a_run_began() -> None:
    """However many runs there were, and though others have been found before."""
    recorder, store = Recorder(), store_of([])
    for number, lifecycle in enumerate((OLD_ORDER, ORDER)):
        started = Started(definitions({"order": lifecycle}), {})
        store_of([recorder.record("node", f"n{number}", started)], store=store)
    tables = Tables(store)
    assert tables.of((OLD_ORDER.fingerprint,), "order").states == ("open", "packed", "done")
    assert tables.of((ORDER.fingerprint,), "order").states == ("open", "done")
    assert tables.of(("unheard of",), "order") is UNDEFINED
    assert tables.of((ORDER.fingerprint,), "session") is UNDEFINED


def test_a_run_is_found_while_the_log_is_written() -> None:
    """What began after a search is searched for from there on."""
    recorder, store = Recorder(), store_of([])
    tables = Tables(store)
    assert tables.of(("unheard of",), "order") is UNDEFINED
    started = Started([*definitions({"order": ORDER}), {"name": "order"}, {"edges": 7}], {})
    store_of([recorder.record("node", "n1", started)], store=store)
    assert tables.of((ORDER.fingerprint,), "order").initial == "new"
    assert len(list(naming(store, STARTED))) == 1


def test_the_first_of_two_counts() -> None:
    """A frame that names two tables of one lifecycle is judged by the first."""
    other = {**CONNECTION.definition, "final": ["closed", "closing"]}
    tables = Tables(store_of([Recorder().record("node", "n1", Started([other], {}))]))
    both = fingerprint_of(other), CONNECTION.fingerprint
    assert tables.of(both, "connection").final == {"closed", "closing"}
    assert tables.of(both[::-1], "connection").final == {"closed"}
