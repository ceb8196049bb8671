"""Frames in PostgreSQL, for writers on many machines."""

from __future__ import annotations

from rat_fsm.errors import MissingExtra

try:
    import psycopg  # noqa: F401 - all modules here need it
except ImportError as problem:
    raise MissingExtra("a log in PostgreSQL", "postgres") from problem

from rat_fsm.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
