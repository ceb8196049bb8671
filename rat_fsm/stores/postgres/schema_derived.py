"""What PostgreSQL itself reads in frames: a view of their events, and an index of their names."""

from __future__ import annotations

from typing import Final

# JSON of PostgreSQL knows no \\u0000: U+FFFD stands for it, unless its backslash is itself escaped.
EVENTS: Final = r"""
CREATE FUNCTION {schema}.document(_body bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT
PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $rat_fsm$
DECLARE
    body text;
BEGIN
    body := convert_from(_body, 'UTF8');
    IF strpos(body, '\u0000') > 0 THEN
        body := regexp_replace(body, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g');
    END IF;
    RETURN body::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $rat_fsm$;
COMMENT ON FUNCTION {schema}.document IS
    'a body as JSON, with U+FFFD for U+0000; NULL where it is none';

CREATE VIEW {schema}.events AS
SELECT frames.position || '.' || (event.number - 1) AS position,
       frames.first_at + (event.row -> 0)::bigint AS at,
       frames.writer,
       frames.first + event.number - 1 AS seq,
       document -> 'streams' -> (event.row -> 1)::integer ->> 0 AS lifecycle,
       document -> 'streams' -> (event.row -> 1)::integer ->> 1 AS id,
       frames.writer || ':' || (document -> 'streams' -> (event.row -> 1)::integer ->> 2) AS born,
       document -> 'types' -> (event.row -> 2)::integer ->> 0 AS type,
       document -> 'types' -> (event.row -> 2)::integer -> 2 AS fields,
       event.row
FROM {schema}.frames
CROSS JOIN LATERAL (SELECT {schema}.document(frames.body) AS document OFFSET 0) AS read
CROSS JOIN LATERAL jsonb_array_elements(document -> 'events') WITH ORDINALITY
    AS event(row, number)
WHERE frames.position > (SELECT pruned FROM {schema}.log);
"""

NAMES: Final = """
CREATE FUNCTION {schema}.hashed(_name text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $rat_fsm$
    SELECT hashtextextended(_name COLLATE "C", 0)
$rat_fsm$;

CREATE FUNCTION {schema}.names_in(_body bytea) RETURNS SETOF bigint LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
DECLARE
    body jsonb := document(_body);
BEGIN
    IF body IS NULL THEN
        RETURN NEXT 0;
    END IF;
    RETURN QUERY
        SELECT hashed(part ->> 1) FROM jsonb_array_elements(body -> 'streams') AS part
        UNION
        SELECT hashed(part ->> 0) FROM jsonb_array_elements(body -> 'types') AS part;
END $rat_fsm$;

CREATE FUNCTION {schema}.catch_up(_frames integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $rat_fsm$
DECLARE
    before bigint;
    reached bigint;
BEGIN
    SELECT upto INTO before FROM named FOR UPDATE;
    before := greatest(before, (SELECT pruned FROM log));
    reached := least(before + _frames, (SELECT last FROM log));
    INSERT INTO names
        SELECT name, position FROM frames, names_in(body) AS name
        WHERE position > before AND position <= reached
        ON CONFLICT DO NOTHING;
    UPDATE named SET upto = greatest(before, reached);
    RETURN greatest(before, reached);
END $rat_fsm$;
COMMENT ON FUNCTION {schema}.catch_up IS
    'enters the names of so many more frames; answers up to which position they are in';
"""
