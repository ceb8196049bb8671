"""What only the owner of a log in PostgreSQL calls: deleting the oldest, and letting others in."""

from __future__ import annotations

from typing import Final

# Locks in the order of `append`, and lets go of them before it deletes anything.
PRUNE: Final = """
CREATE PROCEDURE {schema}.prune(_position bigint) LANGUAGE plpgsql AS $rat_fsm$
DECLARE
    unsaved text;
    deleted bigint;
BEGIN
    PERFORM FROM {schema}.writers ORDER BY writer FOR UPDATE;
    IF _position > (SELECT last FROM {schema}.log) THEN
        RAISE EXCEPTION 'there is no frame %', _position USING ERRCODE = 'no_data_found';
    END IF;
    SELECT string_agg(writer, ', ' ORDER BY writer) INTO unsaved FROM (
        SELECT frames.writer FROM {schema}.frames
        LEFT JOIN {schema}.snapshots ON snapshots.writer = frames.writer
        WHERE frames.position <= _position AND frames.position > (SELECT pruned FROM {schema}.log)
        GROUP BY frames.writer, snapshots.position
        HAVING max(frames.position) > coalesce(snapshots.position, 0)
    ) AS needed;
    IF unsaved IS NOT NULL THEN
        RAISE EXCEPTION 'these writers have no snapshot of frames up to %: %', _position, unsaved
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'A snapshot is saved when a log is closed; open and close theirs.';
    END IF;
    UPDATE {schema}.writers SET pruned = gone.position FROM (
        SELECT writer, max(position) AS position FROM {schema}.frames
        WHERE position <= _position GROUP BY writer
    ) AS gone WHERE gone.writer = writers.writer AND gone.position > pruned;
    UPDATE {schema}.log SET pruned = _position WHERE _position > pruned;
    COMMIT;
    LOOP
        DELETE FROM {schema}.frames WHERE position IN (
            SELECT position FROM {schema}.frames
            WHERE position <= (SELECT pruned FROM {schema}.log)
            AND position NOT IN (SELECT head FROM {schema}.writers)
            ORDER BY position LIMIT 1000);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        COMMIT;
        EXIT WHEN deleted = 0;
    END LOOP;
    DELETE FROM {schema}.names WHERE position <= (SELECT pruned FROM {schema}.log);
END $rat_fsm$;
COMMENT ON PROCEDURE {schema}.prune IS
    'deletes the frames up to a position, but for the last of each writer; for the owner';
"""

ROLES: Final = """
CREATE FUNCTION {schema}.allow_reading(_role name) RETURNS void LANGUAGE plpgsql AS $rat_fsm$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', {channel}, _role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', {channel}, _role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %1$I.document, %1$I.hashed, %1$I.catch_up TO %2$I',
                   {channel}, _role);
END $rat_fsm$;
COMMENT ON FUNCTION {schema}.allow_reading IS 'lets a role read the log; for the owner';

CREATE FUNCTION {schema}.allow_writing(_role name) RETURNS void LANGUAGE plpgsql AS $rat_fsm$
BEGIN
    PERFORM {schema}.allow_reading(_role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %1$I.append, %1$I.claim, %1$I.renew, %1$I.release,'
                   ' %1$I.save_snapshot TO %2$I', {channel}, _role);
END $rat_fsm$;
COMMENT ON FUNCTION {schema}.allow_writing IS
    'lets a role read the log and extend it, and nothing else; for the owner';

REVOKE ALL ON ALL ROUTINES IN SCHEMA {schema} FROM PUBLIC;
"""
