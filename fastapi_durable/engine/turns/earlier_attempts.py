"""What became of the attempts before the last one: kept among a step's events, as parts of it that failed.

A step has one row, which each attempt writes anew. Without this nobody could see later when a step was tried and why
that failed.
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
    """The failed attempts that a step's row tells of, as events."""
    if recorded is None:
        return ()
    return tuple(
        event for event in recorded.events if isinstance(event, dict) and str(event.get("subId", "")).startswith(PREFIX)
    )


def and_this(
    earlier: tuple[Json, ...], number: int, error: ErrorRecord, started_at: datetime, ended_at: datetime
) -> tuple[Json, ...]:
    """The earlier attempts and one that failed after them; the newest twenty."""
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
