"""What a PostgreSQL server promises when it acknowledges a commit, as it is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rat_fsm.stores.postgres.line import Line

_SETTINGS: Final = """
SELECT current_setting('fsync'), current_setting('synchronous_commit'),
       current_setting('synchronous_standby_names')
"""


def guarantee_of(line: Line) -> str:
    """One line about the session's settings.

    A session of ours never runs with ``synchronous_commit = off``; see `Line`.
    """
    ((fsync, commit, standbys),) = line.ask(_SETTINGS)
    if fsync == "off":
        return "in the memory of one server, which runs with fsync=off"
    if not standbys or commit == "local":
        return "synced to the disk of one server"
    if commit == "remote_write":
        return f"synced to the disk of the server, in the memory of its standbys {standbys}"
    return f"synced to the disks of the server and of its standbys {standbys}"
