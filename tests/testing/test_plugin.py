"""The pytest plugin in projects that install it: its fixtures, and what it says of coverage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm.log import EventLog, observing
from rat_fsm.testing.session import _plain
from tests.cli.logs import change
from tests.orders import ORDER, Done, New

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm import ConnectionManager
    from rat_fsm.table import Lifecycle
    from rat_fsm.testing import VirtualClock

pytest_plugins = "pytester"

ROOT: Final = Path(__file__).parent.parent.parent
ORDERS: Final = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import pytest
from rat_fsm import EventLog
from tests.orders import ORDER, New, Noted, Packed

PLACED = New.Placed("book", 1200, "EUR")
"""
TESTS: Final = f"""{ORDERS}
@pytest.fixture
def rat_lifecycles():
    return [ORDER]

def test_packing(event_log):
    event_log.append((ORDER, "o"), PLACED, Packed())

@pytest.mark.parametrize("number", range(4))
def test_notes_in_a_log_that_nobody_closes(number, kept=[]):
    kept.append(EventLog(lifecycles=[ORDER]))
    kept[-1].append((ORDER, "o"), PLACED, Noted())
"""
WHOLE: Final = [
    "order: 3 of 4 edges (75 %), 1 of 2 states",
    "    no test: order.done from open to done",
]


def run(pytester: pytest.Pytester, *arguments: str, code: int = 0) -> str:
    """What a run of pytest in this process prints."""
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)
    output = result.stdout.str() + result.stderr.str()
    assert result.ret == code, output
    return output


def production(pytester: pytest.Pytester) -> str:
    """The path of a log in which orders are done."""
    path = pytester.path / "production.db"
    with EventLog.open(path, lifecycles=[ORDER]) as log:
        for number in range(12):
            log.append((ORDER, str(number)), New.Placed("book", 1200, "EUR"), Done())
    return str(path)


@pytest.fixture
def rat_lifecycles() -> Sequence[Lifecycle]:
    """As a project overrides it."""
    return [ORDER]


def test_the_fixtures(
    event_log: EventLog, connection_manager: ConnectionManager, virtual_clock: VirtualClock
) -> None:
    """They belong together: one clock, one log, on which connections and orders are recorded."""
    assert connection_manager.log is event_log
    assert connection_manager.register_connection("c", "10.0.0.1")
    virtual_clock.advance(5.0)
    event_log.append((ORDER, "o"), New.Placed("book", 1200, "EUR"))
    event_log.flush()
    times = {recorded.type: recorded.micros for recorded in event_log.read()}
    assert times["order.placed"] == virtual_clock.now()
    assert times["order.placed"] - times["connection.registered"] == 5_000_000


def test_the_fixtures_are_put_away(pytester: pytest.Pytester) -> None:
    """After a test its manager is shut down and its log closed."""
    pytester.makepyfile(
        """
        kept = []

        def test_one(connection_manager, event_log):
            kept.extend([connection_manager, event_log])
            assert connection_manager.register_connection("c", "10.0.0.1")

        def test_two():
            manager, log = kept
            assert manager.closed
            assert log.health.status == "closed"
            assert [r.type for r in log.read()][-2:] == ["connection.closed", "node.stopped"]
        """
    )
    assert "2 passed" in run(pytester, "-q")


def test_coverage_is_asked_for(pytester: pytest.Pytester) -> None:
    """Then it is of every log that tests wrote, even of one that nobody closed; else nothing is."""
    pytester.makepyfile(TESTS)
    assert "rat_fsm coverage" not in run(pytester)
    output = run(pytester, "--rat-coverage").splitlines()
    begin = next(n for n, line in enumerate(output) if "rat_fsm coverage" in line)
    assert output[begin + 1 : begin + 3] == WHOLE
    assert observing.looks("w0", EventLog().read_model) == []


def test_what_is_written_last_counts(pytester: pytest.Pytester) -> None:
    """What a fixture of the session writes when it is stopped, and what a store has yet to take."""
    pytester.makepyfile(
        f"""{ORDERS}
import time
from rat_fsm.stores.memory import MemoryStore

class Slow(MemoryStore):
    def append(self, frame):
        time.sleep(0.1)
        return super().append(frame)

LOG = EventLog(Slow(), lifecycles=[ORDER])

@pytest.fixture(scope="session")
def log():
    yield LOG
    LOG.append((ORDER, "o"), Noted())

def test_placing(log):
    log.append((ORDER, "o"), PLACED)
    raise OSError

def test_that_is_not_run(log):
    pass
"""
    )
    assert "order: 2 of 4 edges" in run(pytester, "--rat-coverage", "--exitfirst", code=1)


def test_production_takes_more(pytester: pytest.Pytester) -> None:
    """What it takes and no test does is told first, with how often."""
    pytester.makepyfile(TESTS)
    output = run(pytester, f"--rat-coverage={production(pytester)}")
    assert "    production 12 times, no test: order.done from open to done" in output


def test_production_does_what_no_test_touches(pytester: pytest.Pytester) -> None:
    """A lifecycle of which no test wrote anything is told as well."""
    pytester.makepyfile("def test_nothing():\n    pass")
    output = run(pytester, f"--rat-coverage={production(pytester)}")
    assert "order: 0 of 4 edges (0 %), 0 of 2 states" in output
    assert "    production 12 times, no test: order.done from open to done" in output


def test_the_name_of_a_picture() -> None:
    """Whatever a log calls its lifecycles, it leads out of no folder."""
    names = ["order", "order (0f3a)", "../../Etc", "a b/c\0"]
    assert [_plain(name) for name in names] == ["order", "order-0f3a", "tc", "a-b-c"]


@pytest.mark.parametrize(("least", "code"), [("75", 0), ("75.1", 1)])
def test_too_little_fails(pytester: pytest.Pytester, least: str, code: int) -> None:
    """Only below the bound, which asks for the report by itself."""
    pytester.makepyfile(TESTS)
    output = run(pytester, f"--rat-fail-under={least}", code=code)
    assert WHOLE[0] in output
    failure = "FAIL: 3 of 4 edges (75 %) is less than --rat-fail-under=75.1"
    assert (failure in output) is (code == 1)


def test_the_lifecycles_to_report(pytester: pytest.Pytester) -> None:
    """The configuration names them; of one that no test wrote there is too little."""
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nrat_coverage_lifecycles = node job")
    output = run(pytester, "--rat-coverage")
    assert "order: " not in output
    assert "node: " in output
    assert "job: no test wrote an event" in output
    assert "FAIL: no test wrote an event of job" in run(pytester, "--rat-fail-under=0", code=1)


def test_pictures(pytester: pytest.Pytester) -> None:
    """There is one of each lifecycle; where they cannot be written, that is told and fails."""
    pytester.makepyfile(TESTS)
    folder = pytester.path / "new" / "pictures"
    assert WHOLE[0] in run(pytester, f"--rat-pictures={folder}")
    (picture,) = folder.iterdir()
    assert picture.name == "order-coverage.svg"
    assert "order: tests take 3 of 4 edges (75 %)" in picture.read_text(encoding="utf-8")
    output = run(pytester, f"--rat-pictures={picture}", code=1)
    assert f"FAIL: cannot write the pictures to {picture}: File exists" in output


def test_two_definitions_of_a_lifecycle(pytester: pytest.Pytester) -> None:
    """They are told apart by their fingerprints."""
    pytester.makepyfile(
        f"""{ORDERS}
from tests.orders import OLD_ORDER, Old

def test_both():
    for lifecycle, event in ((ORDER, PLACED), (OLD_ORDER, Old.Placed("book", 12.0))):
        with EventLog(lifecycles=[lifecycle]) as log:
            log.append((lifecycle, "o"), event)
"""
    )
    output = run(pytester, "--rat-pictures=.")
    name = f"order-{ORDER.fingerprint[:8]}-coverage.svg"
    assert (pytester.path / name).exists()
    assert f"order ({ORDER.fingerprint[:8]}): 1 of 4 edges" in output
    assert "total: 2 of 9 edges (22 %)" in output


def test_what_is_no_log(pytester: pytest.Pytester) -> None:
    """It is refused before a test runs, as pytest refuses: code 4, and no traceback."""
    path = pytester.makepyfile(TESTS)
    for wrong in ("none.db", str(path), "memory:"):
        output = run(pytester, f"--rat-coverage={wrong}", code=4)
        assert output.startswith(f"ERROR: --rat-coverage={wrong}: ")
        assert ("; name tests before this option" in output) == (wrong == str(path))
        assert "Traceback" not in output


@pytest.mark.parametrize("wrong", ["-1", "100.5", "nan", "much"])
def test_what_is_no_percentage(pytester: pytest.Pytester, wrong: str) -> None:
    """Likewise."""
    output = run(pytester, f"--rat-fail-under={wrong}", code=4)
    assert f"argument --rat-fail-under: '{wrong}' is no percentage from 0 to 100" in output


def test_a_production_log_that_is_damaged(pytester: pytest.Pytester) -> None:
    """It is told at the end, and fails."""
    pytester.makepyfile(TESTS)
    path = production(pytester)
    change(Path(path), "UPDATE frames SET body = 'x'")
    output = run(pytester, f"--rat-coverage={path}", code=1)
    assert f"FAIL: cannot read {path}: frame 1 is damaged" in output


def test_a_run_without_tests(pytester: pytest.Pytester) -> None:
    """A report changes no other outcome than success."""
    assert "FAIL: 0 of 0 edges" in run(pytester, "--rat-fail-under=100", code=5)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "2", "--cov=tests.orders"]])
def test_in_a_process_of_its_own(pytester: pytest.Pytester, workers: list[str]) -> None:
    """The workers of pytest-xdist count together what one process does, under coverage.py, too."""
    pytester.makepyfile(TESTS)
    command = [sys.executable, "-W", "error", "-m", "pytest", "--rat-coverage", *workers]
    result = subprocess.run(
        command, cwd=pytester.path, check=False, capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "\n".join(WHOLE) in result.stdout


@pytest.mark.slow
def test_a_worker_that_crashes(pytester: pytest.Pytester) -> None:
    """What it counted is lost, and the report says so."""
    pytester.makepyfile(f"{TESTS}\ndef test_crash():\n    import os\n    os._exit(1)")
    result = pytester.runpytest_subprocess("--rat-coverage", "-n", "1", timeout=50)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAIL: a worker has crashed, and what it counted is lost"])


@pytest.mark.slow
def test_the_plugin_is_light(pytester: pytest.Pytester) -> None:
    """Where nothing is asked of it, it imports neither Hypothesis nor what coverage needs."""
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            assert "rat_fsm.testing.pytest_plugin" in sys.modules
            assert not {"hypothesis", "rat_fsm.testing.session"} & sys.modules.keys()
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:cov", timeout=50)
    result.assert_outcomes(passed=1)
