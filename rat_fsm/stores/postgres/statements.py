"""What the store says to a log in PostgreSQL, in SQL; ``{schema}`` is filled in.

Only `schema` holds statements that change it, and these call them.
"""
# ruff: noqa: S608 - all of it is constants

from __future__ import annotations

from typing import Final

COLUMNS: Final = (
    "f.position, f.writer, f.first, f.count, f.first_at, f.last_at, f.fingerprints, f.salt,"
    " f.body, f.prev, f.hash, f.format, f.algorithm"
)
VALUES: Final = (
    "%(writer)s, %(first)s, %(count)s, %(first_at)s, %(last_at)s, %(fingerprints)s, %(salt)s,"
    " %(body)s, %(prev)s, %(hash)s, %(format)s, %(algorithm)s"
)
APPEND: Final = f"SELECT {{schema}}.append({VALUES}, %(epoch)s, %(lease)s)"
FRAMES: Final = "SELECT * FROM {schema}.frames AS f WHERE f.position > %(after)s"
OWN: Final = f"{FRAMES} AND f.writer = %(writer)s"
NAMED: Final = """
SELECT f.* FROM {schema}.names JOIN {schema}.frames AS f ON f.position = names.position
WHERE names.position > %(after)s AND names.position <= %(named)s
AND names.name IN ({schema}.hashed(%(name)s), 0)
"""
PRUNED: Final = "SELECT pruned FROM {schema}.log"
OWN_PRUNED: Final = (
    "SELECT coalesce(max(pruned), 0) FROM {schema}.writers WHERE writer = %(writer)s"
)
# One statement and so one view of the log: what was pruned, and frames, if only a row of NULLs.
BATCH: Final = f"""
WITH f AS ({{frames}} ORDER BY f.position LIMIT %(size)s)
SELECT ({{pruned}}), {COLUMNS} FROM {{schema}}.log LEFT JOIN f ON true ORDER BY f.position
"""
HEADS: Final = f"""
SELECT {COLUMNS} FROM {{schema}}.writers JOIN {{schema}}.frames AS f ON f.position = head
"""
HEAD: Final = f"{HEADS} WHERE writers.writer = %(writer)s"
SLOTS: Final = """
SELECT writer, epoch, coalesce(lease_until > clock_timestamp(), false),
       (extract(epoch FROM seen) * 1000000)::bigint
FROM {schema}.writers WHERE epoch > 0
"""
SAVE: Final = """
SELECT {schema}.save_snapshot(
    %(writer)s, %(fold_version)s, %(position)s, %(data)s, %(head)s)
"""
LOAD: Final = """
SELECT writer, fold_version, position, data, head FROM {schema}.snapshots WHERE writer = %(writer)s
"""
CLAIM: Final = "SELECT {schema}.claim(%(writer)s, %(lease)s)"
RENEW: Final = "SELECT {schema}.renew(%(writer)s, %(epoch)s, %(lease)s)"
RELEASE: Final = "SELECT {schema}.release(%(writer)s, %(epoch)s)"
LAST: Final = """
SELECT last, (SELECT hash FROM {schema}.frames WHERE position = %(position)s) FROM {schema}.log
"""
REACH: Final = "SELECT last, upto FROM {schema}.log, {schema}.named"
CATCH_UP: Final = "SELECT {schema}.catch_up(%(frames)s)"
VERSION: Final = "SELECT version FROM {schema}.log"
SET_VERSION: Final = "UPDATE {schema}.log SET version = {version}"
