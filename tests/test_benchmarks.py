"""The benchmarks run, and say what they measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.fixtures import missing

ROOT = Path(__file__).parent.parent

if not (ROOT / "benchmarks" / "__main__.py").is_file():
    pytest.skip("the installed package has no benchmarks", allow_module_level=True)


@pytest.mark.slow
def test_a_quick_run_of_the_overhead(tmp_path: Path) -> None:
    """The rows of the middleware measure, with a server where there is one."""
    file = tmp_path / "b.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "chunk", "request"]
    where = ["--json", str(file), "--directory", str(tmp_path)]
    subprocess.run([*command, *where], cwd=ROOT, check=True, capture_output=True)
    found = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert [(r["row"], r["unit"], r["budget"]) for r in found] == [
        *[("chunk", "µs", 1.5)] * 2,
        *[("request", "µs", 15)] * 2,
    ]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_quick_run_of_the_stores(tmp_path: Path) -> None:
    """Every store that a quick run has time for is measured on real servers, and followed."""
    file = tmp_path / "b.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "stores", "lag"]
    where = ["--json", str(file), "--directory", str(tmp_path)]
    subprocess.run([*command, *where], cwd=ROOT, check=True, capture_output=True)
    found = json.loads(file.read_text(encoding="utf-8"))["results"]
    skipped = [one["reason"] for one in found if "reason" in one]
    if skipped:
        missing("; ".join(skipped))
    embedded, servers = ("memory", "SQLite"), ("PostgreSQL", "NATS, synced")
    rates = [one for one in found if one["unit"] == "events/s"]
    assert [one["what"] for one in rates] == [
        f"{name}: record to flush" for name in (*embedded, *servers)
    ]
    assert [one["what"] for one in found if one["row"] == "lag"] == [
        f"{name}: from commit to folded, p99" for name in ("SQLite", *servers)
    ]
    assert [one["unit"] for one in found if one["budget"] == 8] == ["x"]


@pytest.mark.slow
def test_a_quick_run_of_one_row_writes_what_it_measured(tmp_path: Path) -> None:
    """`python -m benchmarks --quick --only bytes` measures, and writes JSON and Markdown."""
    files = ["--json", str(tmp_path / "b.json"), "--markdown", str(tmp_path / "b.md")]
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "bytes", *files]
    subprocess.run(
        [*command, "--directory", str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    found = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert set(found["machine"]) == {"cpu", "system", "python", "sqlite", "directory", "sync"}
    assert [(r["row"], r["unit"], r["budget"], r["met"]) for r in found["results"]] == [
        ("bytes", "B", 35, True),
        ("bytes", "B", 80, True),
    ]
    assert (tmp_path / "b.md").read_text(encoding="utf-8").count("| bytes: an activity, ") == 2
