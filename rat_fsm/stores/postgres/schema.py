"""What a PostgreSQL log consists of in SQL; the functions are all that a writer may do.

Laws: a frame's position is given while the one row of ``log`` is locked until the commit, so
positions are given in the order of commits, without gaps, and who has seen one has seen all
before it. A writer's row is locked first and that one last, so nobody waits in a circle.

``MIGRATIONS`` is applied in order, each once; what was released is never changed. In it,
``{schema}`` is the schema's name and ``{channel}`` the same as a literal.
"""

from __future__ import annotations

from typing import Final

from rat_fsm.stores.postgres.schema_derived import EVENTS, NAMES
from rat_fsm.stores.postgres.schema_owner import PRUNE, ROLES

_TABLES: Final = """
CREATE TABLE {schema}.log (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    last bigint NOT NULL DEFAULT 0,
    pruned bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
COMMENT ON COLUMN {schema}.log.last IS 'the position of the last frame';
COMMENT ON COLUMN {schema}.log.pruned IS 'frames up to this position were pruned';
INSERT INTO {schema}.log (version) VALUES (0);

CREATE TABLE {schema}.writers (
    writer text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    seen timestamptz,
    head bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    next bigint NOT NULL DEFAULT 1,
    pruned bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON COLUMN {schema}.writers.epoch IS 'how often the slot was taken';
COMMENT ON COLUMN {schema}.writers.head IS 'the position of its last frame';
COMMENT ON COLUMN {schema}.writers.next IS 'the sequence number that its next event will have';
COMMENT ON COLUMN {schema}.writers.pruned IS 'the position of its last frame that was pruned';

CREATE TABLE {schema}.frames (
    position bigint PRIMARY KEY,
    writer text COLLATE "C" NOT NULL,
    first bigint NOT NULL,
    count integer NOT NULL,
    first_at bigint NOT NULL,
    last_at bigint NOT NULL,
    fingerprints text[] NOT NULL,
    salt bytea NOT NULL,
    body bytea NOT NULL,
    prev bytea NOT NULL,
    hash bytea NOT NULL,
    format integer NOT NULL,
    algorithm text NOT NULL,
    UNIQUE (writer, position)
);

CREATE TABLE {schema}.snapshots (
    writer text COLLATE "C" PRIMARY KEY,
    fold_version integer NOT NULL,
    position bigint NOT NULL,
    data bytea NOT NULL,
    head bytea
);

-- A frame of 10 000 events took 25 ms to compress with pglz, 3 ms with lz4, which not all have.
DO $rat_fsm$ BEGIN
    ALTER TABLE {schema}.frames ALTER COLUMN body SET COMPRESSION lz4;
    ALTER TABLE {schema}.snapshots ALTER COLUMN data SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    ALTER TABLE {schema}.frames ALTER COLUMN body SET STORAGE EXTERNAL;
    ALTER TABLE {schema}.snapshots ALTER COLUMN data SET STORAGE EXTERNAL;
END $rat_fsm$;

CREATE TABLE {schema}.names (
    name bigint,
    position bigint,
    PRIMARY KEY (name, position)
);
COMMENT ON COLUMN {schema}.names.name IS
    'a hash of an id or a tag; 0 stands for all in a frame that is no JSON';

CREATE TABLE {schema}.named (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    upto bigint NOT NULL
) WITH (fillfactor = 10);
COMMENT ON COLUMN {schema}.named.upto IS 'frames up to this position are in names';
INSERT INTO {schema}.named (upto) VALUES (0);
"""

# A frame is never changed, and deleted only by `prune`, which first says so in the log's row.
_GUARDS: Final = """
CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $rat_fsm$
BEGIN
    RAISE EXCEPTION 'frames are never changed; use prune() to delete the oldest'
        USING ERRCODE = 'insufficient_privilege';
END $rat_fsm$;

CREATE FUNCTION {schema}.guard_delete() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
BEGIN
    IF OLD.position > (SELECT pruned FROM log)
    OR EXISTS (SELECT FROM writers WHERE writer = OLD.writer AND head = OLD.position) THEN
        RAISE EXCEPTION 'frames are never changed; use prune() to delete the oldest'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END $rat_fsm$;

CREATE TRIGGER frames_are_final BEFORE UPDATE ON {schema}.frames
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER frames_are_kept BEFORE DELETE ON {schema}.frames
    FOR EACH ROW EXECUTE FUNCTION {schema}.guard_delete();
CREATE TRIGGER frames_are_not_emptied BEFORE TRUNCATE ON {schema}.frames
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse();
"""

_APPEND: Final = """
CREATE FUNCTION {schema}.append(
    _writer text, _first bigint, _count integer, _first_at bigint, _last_at bigint,
    _fingerprints text[], _salt bytea, _body bytea, _prev bytea, _hash bytea,
    _format integer, _algorithm text, _epoch bigint, _lease double precision
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
DECLARE
    slot {schema}.writers;
    at bigint;
BEGIN
    SELECT * INTO slot FROM writers WHERE writer = _writer FOR UPDATE;
    IF NOT FOUND AND _first = 1 THEN
        INSERT INTO writers (writer) VALUES (_writer) ON CONFLICT DO NOTHING;
        SELECT * INTO slot FROM writers WHERE writer = _writer FOR UPDATE;
    END IF;
    IF NOT FOUND THEN
        RETURN 0;
    ELSIF slot.epoch <> _epoch THEN
        RETURN -1;
    ELSIF slot.hash = _hash THEN
        RETURN slot.head;
    ELSIF slot.hash <> _prev OR slot.next <> _first THEN
        RETURN 0;
    END IF;
    UPDATE log SET last = last + 1 RETURNING last INTO at;
    INSERT INTO frames VALUES (
        at, _writer, _first, _count, _first_at, _last_at, _fingerprints, _salt, _body, _prev,
        _hash, _format, _algorithm);
    UPDATE writers SET head = at, hash = _hash, next = _first + _count,
        seen = CASE WHEN _epoch IS NULL THEN seen ELSE clock_timestamp() END,
        lease_until = CASE WHEN lease_until IS NOT NULL AND _epoch IS NOT NULL
                      THEN clock_timestamp() + make_interval(secs => _lease) ELSE lease_until END
        WHERE writer = _writer;
    PERFORM pg_notify({channel}, '');
    RETURN at;
END $rat_fsm$;
COMMENT ON FUNCTION {schema}.append IS
    'the position; 0 where the chain goes on otherwise, -1 where another has the slot';
"""

_SLOTS: Final = """
CREATE FUNCTION {schema}.claim(_writer text, _lease double precision)
RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
    INSERT INTO writers AS slot (writer, epoch, lease_until, seen)
    VALUES (_writer, 1, clock_timestamp() + make_interval(secs => _lease), clock_timestamp())
    ON CONFLICT (writer) DO UPDATE SET epoch = slot.epoch + 1, seen = clock_timestamp(),
        lease_until = clock_timestamp() + make_interval(secs => _lease)
        WHERE slot.lease_until IS NULL OR slot.lease_until <= clock_timestamp()
    RETURNING epoch
$rat_fsm$;
COMMENT ON FUNCTION {schema}.claim IS 'the new epoch, NULL where another holds the slot';

CREATE FUNCTION {schema}.renew(_writer text, _epoch bigint, _lease double precision)
RETURNS boolean LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
    WITH renewed AS (
        UPDATE writers SET seen = clock_timestamp(),
            lease_until = clock_timestamp() + make_interval(secs => _lease)
        WHERE writer = _writer AND epoch = _epoch AND lease_until IS NOT NULL RETURNING 1)
    SELECT EXISTS (SELECT FROM renewed)
$rat_fsm$;
COMMENT ON FUNCTION {schema}.renew IS 'whether the slot was still held under this epoch';

CREATE FUNCTION {schema}.release(_writer text, _epoch bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
    UPDATE writers SET lease_until = NULL WHERE writer = _writer AND epoch = _epoch
$rat_fsm$;

CREATE FUNCTION {schema}.save_snapshot(
    _writer text, _fold_version integer, _position bigint, _data bytea, _head bytea
) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
    INSERT INTO snapshots VALUES (_writer, _fold_version, _position, _data, _head)
    ON CONFLICT (writer) DO UPDATE SET fold_version = _fold_version, position = _position,
        data = _data, head = _head
$rat_fsm$;
"""

MIGRATIONS: Final = (f"{_TABLES}{_GUARDS}{_APPEND}{_SLOTS}{EVENTS}{NAMES}{PRUNE}{ROLES}",)
