"""The rig's own tables, which the library does not know of.

In `chaos_ledger` jobs leave their entries. In `chaos_leases` a trigger of the database itself notes whenever the owner
of a run in a queue changes.
"""

from typing import Final

# `at` is in seconds since 1970, by the database's clock.
_LEDGER: Final = "CREATE TABLE chaos_ledger (job TEXT NOT NULL, entry TEXT NOT NULL, at {type} DEFAULT ({now}))"
_LEASES: Final = (
    "CREATE TABLE chaos_leases (id {id}, run TEXT NOT NULL, queue TEXT NOT NULL, holder TEXT NOT NULL, until BIGINT,"
    " begins INTEGER NOT NULL)"
)
_NOTE: Final = (
    "INSERT INTO chaos_leases (run, queue, holder, until, begins)"
    " VALUES (NEW.id, NEW.queue, coalesce(NEW.locked_by, ''), {until},"
    " CASE WHEN OLD.status = 'pending' AND NEW.status = 'running' THEN 1 ELSE 0 END)"
)
_NOTE_SQLITE: Final = _NOTE.format(until="CAST(round((julianday(NEW.locked_until) - 2440587.5) * 86400000) AS INTEGER)")
_NOTE_POSTGRES: Final = _NOTE.format(until="(extract(epoch FROM NEW.locked_until) * 1000)::bigint")
_AFTER: Final = "CREATE TRIGGER chaos_leases AFTER UPDATE ON durable_workflow_runs"

LEDGER: Final = {
    "sqlite": (
        _LEDGER.format(type="REAL", now="(julianday('now') - 2440587.5) * 86400"),
        _LEASES.format(id="INTEGER PRIMARY KEY AUTOINCREMENT"),
        f"{_AFTER} WHEN NEW.queue <> '' AND NEW.locked_by IS NOT OLD.locked_by BEGIN {_NOTE_SQLITE}; END",
    ),
    "postgresql": (
        _LEDGER.format(type="float8", now="extract(epoch FROM clock_timestamp())"),
        _LEASES.format(id="bigserial PRIMARY KEY"),
        "CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS"  # noqa: ISC004 (one statement)
        f" $$ BEGIN {_NOTE_POSTGRES}; RETURN NULL; END $$",
        f"{_AFTER} FOR EACH ROW WHEN (NEW.queue <> '' AND NEW.locked_by IS DISTINCT FROM OLD.locked_by)"  # noqa: ISC004
        " EXECUTE FUNCTION chaos_note()",
    ),
}
"""The statements that make them, by the kind of database."""
