"""What leaves a log: its frames as they are, or its events in the forms that other tools read.

Frames go out, come back and are copied between stores with their hashes and at their positions.
Events go out as JSON Lines, Arrow, Parquet and XES, and do not come back: a chain cannot be made
again from what is told of it.
"""

from __future__ import annotations

from rat_fsm.exports.arrow import arrow_schema, to_arrow, write_arrow, write_parquet
from rat_fsm.exports.copying import Copied, copy_log
from rat_fsm.exports.files import replaced
from rat_fsm.exports.frames import export_frames
from rat_fsm.exports.importing import import_frames
from rat_fsm.exports.jsonl import to_jsonl, write_jsonl
from rat_fsm.exports.redacting import without_personal_data
from rat_fsm.exports.selecting import EVERYTHING, Exported, Selection
from rat_fsm.exports.xes import write_xes

__all__ = [
    "EVERYTHING",
    "Copied",
    "Exported",
    "Selection",
    "arrow_schema",
    "copy_log",
    "export_frames",
    "import_frames",
    "replaced",
    "to_arrow",
    "to_jsonl",
    "without_personal_data",
    "write_arrow",
    "write_jsonl",
    "write_parquet",
    "write_xes",
]
