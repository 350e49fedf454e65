"""The outcome of a turn: its body returns or raises, or something else stops it first."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from fastapi_durable.model.records import Json


class Interrupt(BaseException):
    """Unwinds a body whose turn is over. Not an `Exception`, so user code does not catch it by accident."""


class Ending(Enum):
    """Why a turn ended before its body did."""

    SUSPENDED = auto()
    CUT_SHORT = auto()
    CANCELLED = auto()
    CONTINUED = auto()
    DIVERGED = auto()
    LEASE_LOST = auto()
    ABANDONED = auto()
    RELEASED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """The run that follows `ctx.continue_as_new`. `input` is encoded, and `tags` are those of the new run.

    With `in_place` the run itself continues with an empty history. Its id, tags and tokens stay.
    """

    input: Json
    tags: tuple[str, ...] = ()
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The body raised an error. `given_up` are the positions that a retry repeats."""

    error: Exception
    given_up: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn ended before its body.

    Attributes:
        wake_at: The earliest timer that the body waits for.
        error: The divergence, or the store's error.
        continuation: The run that follows.
    """

    ending: Ending
    wake_at: datetime | None = None
    error: Exception | None = None
    continuation: Continuation | None = None


TurnOutcome = Returned | Raised | Ended
