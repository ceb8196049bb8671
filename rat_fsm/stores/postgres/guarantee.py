"""What a PostgreSQL server promises when it acknowledges a commit, as it is configured."""

from __future__ import annotations


def guarantee_of(fsync: str, commit: str, standbys: str) -> str:
    """One line about a session's settings.

    A session of ours never runs with ``synchronous_commit = off``; see `Session`.

    Args:
        fsync: of the setting's name.
        commit: ``synchronous_commit``.
        standbys: ``synchronous_standby_names``.
    """
    if fsync == "off":
        return "in the memory of one server, which runs with fsync=off"
    if not standbys or commit == "local":
        return "synced to the disk of one server"
    if commit == "remote_write":
        return f"synced to the disk of the server, in the memory of its standbys {standbys}"
    return f"synced to the disks of the server and of its standbys {standbys}"
