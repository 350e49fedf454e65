"""The failed attempts before the last one, which are kept among a step's events.

A step has one row, which each attempt overwrites. These events show when a step was tried before, and why it failed.
"""

from datetime import datetime
from typing import Final

from fastapi_durable.model.clock import to_millis
from fastapi_durable.model.records import Checkpoint, ErrorRecord, Json
from fastapi_durable.model.text import storable_text

PREFIX: Final = "durable:attempt:"
_KEPT: Final = 20
_LONGEST_TEXT: Final = 500


def attempts_before(recorded: Checkpoint | None) -> tuple[Json, ...]:
    """Return the failed attempts in a step's row, as events."""
    if recorded is None:
        return ()
    return tuple(
        event for event in recorded.events if isinstance(event, dict) and str(event.get("subId", "")).startswith(PREFIX)
    )


def and_this(
    earlier: tuple[Json, ...], number: int, error: ErrorRecord, started_at: datetime, ended_at: datetime
) -> tuple[Json, ...]:
    """Return the earlier attempts and one that failed after them, the newest twenty at most."""
    event: Json = {
        "at": to_millis(ended_at),
        "level": "error",
        "message": storable_text(f"{error.type or 'Error'}: {error.message}", _LONGEST_TEXT),
        "subId": f"{PREFIX}{number}",
        "name": f"attempt {number}",
        "status": "failed",
        "data": {"durationMs": to_millis(ended_at) - to_millis(started_at)},
    }
    return (*earlier, event)[-_KEPT:]
