"""rat-fsm doctor."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from rat_fsm.integrations.doctor import SERVERS, installed
from tests.cli.logs import ESCAPED, HOSTILE, plain, run

if TYPE_CHECKING:
    from pathlib import Path

APP = """
import asyncio
from rat_fsm.integrations.asgi import StreamingMiddleware
print("hello")
async def plain(scope, receive, send): ...
app = StreamingMiddleware(plain, drain_timeout=7, lame_duck=2)
class Holder: app = app
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an application, in which the command runs."""
    name = f"app_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def levels(output: str) -> dict[str, str]:
    """Code → level in the only report."""
    [report] = json.loads(output)["reports"]
    return {finding["code"]: finding["level"] for finding in report["findings"]}


def test_one_server() -> None:
    """What is found is told with its level in words, and below it what to do."""
    result = run("doctor", "--server", "uvicorn", "--server-timeout", 10, "--grace", 60)
    version = metadata.version("uvicorn")
    lines = plain(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines[0].startswith(f"uvicorn {version} on Python 3.")
    assert lines[-1].startswith("0 problems, 0 warnings, ")
    assert (
        "  ok         the drain needs up to 30 s, uvicorn waits 10 s from the end of it on, and "
        "SIGKILL comes after 60 s: in this order"
    ) in lines
    note = lines.index(
        "  note       the drain needs up to 30 s, and uvicorn's timeout is 10 s: no harm, as "
        "uvicorn starts to count when the drain is over"
    )
    assert lines[note + 1].startswith("             -> nothing to do where signals end uvicorn")


def test_a_problem() -> None:
    """With a problem the exit code is 1, and the problem stands first."""
    result = run("doctor", "--server", "granian", "--server-timeout", 10, "--drain-timeout", 20)
    assert result.exit_code == 1
    problem, advice = plain(result.stdout)[1:3]
    assert problem == (
        "  problem    the drain needs up to 20 s, and granian ends after 10 s: what is still "
        "served then is cut off, unannounced"
    )
    assert advice == (
        "             -> set --workers-kill-timeout to 25 or more, or drain_timeout and lame_duck "
        "to 5 or less together"
    )


def test_workers() -> None:
    """Without options hypercorn serves in a worker process; with --workers 0 it does not."""
    assert levels(run("doctor", "--server", "hypercorn", "--json").stdout).items() >= {
        ("hypercorn_worker_process", "problem")
    }
    options = ("--workers", 0, "--server-timeout", 40, "--json")
    without = run("doctor", "--server", "hypercorn", *options)
    assert "hypercorn_worker_process" not in levels(without.stdout)
    assert without.exit_code == 0


def test_all_servers() -> None:
    """Without options there is a section for each installed server, and one for what they share."""
    result = run("doctor")
    there = [name for name in SERVERS if name in installed()]
    titles = [line for line in plain(result.stdout) if line and not line.startswith(" ")]
    assert [title.split()[0] for title in titles[: len(there)]] == there
    shared = "hold events back"
    assert sum(shared in line for line in plain(result.stdout)) == 1
    reports = json.loads(run("doctor", "--json").stdout)["reports"]
    assert [report["facts"]["server"]["name"] for report in reports] == there
    assert result.exit_code == any(report["worst"] == "problem" for report in reports)


def test_an_application(folder: Path) -> None:
    """An application is imported; what its middleware was told counts unless it is given here."""
    target = f"app_{folder.name}:app"
    result = run("doctor", target, "--server", "uvicorn", "--json")
    [report] = json.loads(result.stdout)["reports"]
    facts = report["facts"]
    assert (facts["application"], facts["layers"]) == (target, ["StreamingMiddleware", "function"])
    assert (facts["drain_timeout"], facts["lame_duck"], facts["log"]) == (7, 2, "memory")
    assert levels(result.stdout)["middleware_outermost"] == "ok"
    assert result.stderr == "hello\n"
    given = run("doctor", target, "--server", "uvicorn", "--drain-timeout", 9, "--json")
    assert json.loads(given.stdout)["reports"][0]["facts"]["drain_timeout"] == 9


def test_an_application_without_the_middleware(folder: Path) -> None:
    """An application that nothing records is a problem."""
    result = run("doctor", f"app_{folder.name}:plain", "--server", "uvicorn", "--json")
    assert levels(result.stdout)["middleware_missing"] == "problem"
    assert result.exit_code == 1
    nested = run("doctor", f"app_{folder.name}:Holder.app", "--server", "uvicorn", "--json")
    assert "middleware_missing" not in levels(nested.stdout)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (
            "missing:app",
            "cannot import missing:app: ModuleNotFoundError: No module named 'missing'",
        ),
        (
            "{}:missing",
            "cannot import {}:missing: AttributeError: module '{}' has no attribute 'missing'",
        ),
        ("{}:asyncio", "{}:asyncio is no ASGI application, but a module"),
        ("{}", "'{}' is not of the form module:NAME"),
        (":app", "':app' is not of the form module:NAME"),
    ],
)
def test_an_application_that_is_none(folder: Path, target: str, error: str) -> None:
    """What cannot be imported is one line, exit 2."""
    name = f"app_{folder.name}"
    result = run("doctor", target.replace("{}", name))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.removeprefix("hello\n") == f"error: {error.replace('{}', name)}\n"


@pytest.mark.parametrize("raised", ["SystemExit(repr(TEXT))", "ValueError(TEXT)"])
def test_an_application_that_fails(folder: Path, raised: str) -> None:
    """Whatever it raises when it is imported is one harmless line."""
    name = f"failing_{folder.name}"
    (folder / f"{name}.py").write_text(f"TEXT = {HOSTILE!r}\nraise {raised}")
    result = run("doctor", f"{name}:app")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    if raised.startswith("ValueError"):
        assert result.stderr == f"error: cannot import {name}:app: ValueError: {ESCAPED}\n"


def test_hostile_names(folder: Path) -> None:
    """A name of a class that a terminal would obey is escaped."""
    name = f"hostile_{folder.name}"
    (folder / f"{name}.py").write_text(
        "class BaseHTTPMiddleware:\n    def __call__(self): ...\n"
        f"app = type({HOSTILE!r}, (BaseHTTPMiddleware,), {{}})()"
    )
    result = run("doctor", f"{name}:app", "--server", "uvicorn", width=80)
    assert not set(HOSTILE) & {"\x9b", "\u202e", "\x07"} & set(result.stdout)
    assert ESCAPED in run("doctor", f"{name}:app", "--server", "uvicorn").stdout


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "x"])
def test_numbers_that_are_none(number: str) -> None:
    """A number of seconds is a finite one, from 0."""
    result = run("doctor", "--grace", number)
    assert (result.exit_code, result.stdout) == (2, "")
