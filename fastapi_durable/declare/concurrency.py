"""The number of runs that a worker drives at a time: a fixed number, or one that adapts to the lag of its event
loop."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.text import shown

_LARGEST = 1_000_000
_NUMBER = re.compile(r"\s*\d{1,7}\s*")
_RANGE = re.compile(r"\s*(\d{1,7})\s*-\s*(\d{1,7})\s*")


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Concurrency that each worker adjusts: `DurableOptions(concurrency=Adaptive(least=4, most=64))`.

    While all slots are taken, the worker adds one slot four times a second. Whenever its event loop wakes a timer later
    than `longest_lag`, the process is short of CPU, and the worker removes a quarter of the slots. It never ends a run
    that is under way.

    Attributes:
        least: Number of slots at the start, and the smallest number.
        most: Largest number of slots. It limits memory and database load.
        longest_lag: Longest delay of a timer.

    Raises:
        DefinitionError: the bounds contradict each other.
    """

    least: int = 4
    most: int = 64
    longest_lag: Duration = timedelta(milliseconds=50)

    def __post_init__(self) -> None:
        if refusal := _refusal(self.least, self.most):
            raise DefinitionError(f"concurrency {refusal}")
        if parse_duration(self.longest_lag) <= timedelta(0):
            raise DefinitionError(f"longest_lag must be a positive duration, got {self.longest_lag!r}")


def parse_concurrency(value: Any) -> int | Adaptive:
    """Read a number, a range such as "4-64" of an environment variable, or an `Adaptive`.

    Raises:
        ValueError: the value is none of these. The message continues the setting's name.
    """
    if isinstance(value, Adaptive):
        return value
    text = "" if isinstance(value, bool) else str(value)
    if bounds := _RANGE.fullmatch(text):
        least, most = int(bounds[1]), int(bounds[2])
        if refusal := _refusal(least, most):
            raise ValueError(refusal)
        return Adaptive(least, most)
    if _NUMBER.fullmatch(text) and 1 <= int(text) <= _LARGEST:
        return int(text)
    raise ValueError(f"must be a number of runs from 1 to {_LARGEST}, or a range such as '4-64', got {shown(value)}")


def _refusal(least: Any, most: Any) -> str | None:
    """Return why these bounds are invalid, as a text that continues the setting's name. None: they are valid."""
    if type(least) is int and type(most) is int and 1 <= least <= most <= _LARGEST:
        return None
    return f"must satisfy 1 <= least <= most <= {_LARGEST}, got least={least!r}, most={most!r}"


class Slots:
    """The places of one worker.

    Attributes:
        number: How many there are now.
        bounds: Between which their number changes; None: it is fixed.
    """

    def __init__(self, concurrency: int | Adaptive) -> None:
        self.bounds = concurrency if isinstance(concurrency, Adaptive) else None
        self.number = concurrency.least if isinstance(concurrency, Adaptive) else concurrency
        self._wanted = False

    def free(self, taken: int) -> int:
        """How many are free, less than none after some were taken away; that none was is remembered."""
        self._wanted = self._wanted or taken >= self.number
        return self.number - taken

    def adapt(self, lag: timedelta, taken: int) -> bool:
        """Additive increase, multiplicative decrease, by what happened since the last time; True if there are more.

        Args:
            lag: By how much a timer was late.
            taken: How many places are taken now.
        """
        wanted, self._wanted = self._wanted or taken >= self.number, False
        # A measurement means nothing if slots were free all the time, or if it was taken before the last decrease took
        # effect.
        if self.bounds is None or not wanted or taken > self.number:
            return False
        if lag > parse_duration(self.bounds.longest_lag):
            self.number = max(self.bounds.least, self.number * 3 // 4)
            return False
        self.number = min(self.bounds.most, self.number + 1)
        return True
