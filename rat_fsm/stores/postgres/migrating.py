"""Makes a schema a log, or says why it is none."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

import psycopg

from rat_fsm.errors import StoreUnreadable, UnsupportedFormat
from rat_fsm.stores.postgres.line import Line
from rat_fsm.stores.postgres.schema import MIGRATIONS
from rat_fsm.stores.postgres.statements import SET_VERSION, VERSION

if TYPE_CHECKING:
    from rat_fsm.stores.postgres.address import Address

TIMEOUT: Final = 60.0
_FOUND: Final = """
SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = %(schema)s),
       (SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = %(schema)s),
       (SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = %(schema)s AND relname IN ('log', 'frames', 'writers'))
"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('rat_fsm'), hashtext(%s))"


def check(line: Line, address: Address) -> None:
    """Looks whether a schema holds a log that this version reads.

    Raises:
        StoreUnreadable: it does not.
        UnsupportedFormat: a newer rat_fsm made it.
    """
    with line.connected() as connection:
        if _version(connection, address) == 0:
            raise StoreUnreadable(f"no log at {address.shown}: its schema is empty or missing")


def prepare(line: Line, address: Address) -> None:
    """Makes a schema a log of this version, unless it is one already.

    Raises:
        StoreUnreadable: it holds something else.
        UnsupportedFormat: a newer rat_fsm made it.
    """
    with line.connected() as connection:
        if _version(connection, address) < len(MIGRATIONS):
            with contextlib.closing(Line(address, TIMEOUT)) as patient:
                _migrate(patient, address)


def _migrate(line: Line, address: Address) -> None:
    with line.connected() as connection, connection.transaction():
        connection.execute(_LOCK, (address.schema,))
        version = _version(connection, address)
        if not _count(connection, address)[0]:
            _run(connection, f"CREATE SCHEMA {address.quoted}")
        for migration in MIGRATIONS[version:]:
            _run(connection, _filled(migration, address))
        _run(connection, _filled(SET_VERSION, address, version=len(MIGRATIONS)))


def _filled(statement: str, address: Address, *, version: int = 0) -> str:
    channel = psycopg.sql.Literal(address.schema).as_string(None)
    words = {"{schema}": address.quoted, "{channel}": channel, "{version}": str(version)}
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], statement)


def _run(connection: psycopg.Connection[Any], statements: str) -> None:
    connection.execute(statements.encode())


def _version(connection: psycopg.Connection[Any], address: Address) -> int:
    """How many migrations a schema has seen, 0 where it is empty or is not there."""
    _, relations, ours = _count(connection, address)
    if not relations:
        return 0
    if ours != 3:  # noqa: PLR2004 - the tables asked for
        raise StoreUnreadable(
            f"the schema {address.schema} of {address.shown} holds something else, not a log"
        )
    query = _filled(VERSION, address).encode()
    ((version,),) = connection.execute(query).fetchall()
    if version > len(MIGRATIONS):
        raise UnsupportedFormat(
            f"{address.shown} has schema {version}, newer than this rat_fsm, which reads up to "
            f"{len(MIGRATIONS)}; upgrade to read it"
        )
    return int(version)


def _count(connection: psycopg.Connection[Any], address: Address) -> tuple[int, int, int]:
    """How many schemas of its name there are, relations in it, and tables that a log has."""
    found: tuple[int, int, int] = connection.execute(_FOUND, {"schema": address.schema}).fetchall()[
        0
    ]
    return found
