"""The retry policy of a step: the errors after which it is retried, and the wait before the next attempt."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from fastapi_durable.model.duration import LONGEST, Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.text import shown

ErrorFilter = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
"""Some errors: those of a class, of one of several classes, or those for which a function returns True."""


def check_error_filter(option: str, given: Any) -> None:
    """Refuse a value that selects no errors.

    Raises:
        DefinitionError: it is not a class of exceptions, a tuple of such classes, or a plain function.
    """
    classes = given if isinstance(given, tuple) else (given,)
    if all(isinstance(each, type) and issubclass(each, Exception) for each in classes):
        return
    called = getattr(given, "__call__", None)  # noqa: B004 (an object may have an asynchronous one)
    is_function = callable(given) and not isinstance(given, type)
    if not is_function or inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(called):
        raise DefinitionError(
            f"{option} must be an Exception class, a tuple of them, or a plain function (Exception) -> bool, "
            f"got {shown(given)}"
        )


def matches(chosen: ErrorFilter, error: Exception) -> bool:
    """Whether an error is one of those that were chosen.

    Raises:
        Exception: what the function raises.
    """
    if isinstance(chosen, (type, tuple)):
        # Check the class, because `isinstance` may run code of the instance, and raise.
        return issubclass(type(error), chosen)
    return bool(chosen(error))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between the attempts of a step. Make one with `fixed()` or `exponential()`.

    Attributes:
        kind: Whether the delay stays the same or doubles with every retry.
        base: Delay before the first retry.
        cap: Longest delay. None: no limit.
        jitter: Whether each delay is multiplied by a random factor in [0.5, 1).
    """

    kind: Literal["fixed", "exponential"] = "exponential"
    base: timedelta = timedelta(seconds=1)
    cap: timedelta | None = timedelta(minutes=5)
    jitter: bool = True

    def delay(self, attempts: int, uniform: Callable[[], float]) -> timedelta:
        """Return the delay before the next attempt.

        Args:
            attempts: Number of attempts that failed, 1 or more.
            uniform: Function that returns a random float in [0, 1).

        Returns:
            The delay.
        """
        delay = self.base
        if self.kind == "exponential":
            try:
                delay = self.base * 2 ** (attempts - 1)
            except OverflowError:
                delay = LONGEST
        delay = min(delay, LONGEST if self.cap is None else self.cap)
        return delay * (0.5 + uniform() / 2) if self.jitter else delay


NO_DELAY = Backoff(kind="fixed", base=timedelta(0), cap=None, jitter=False)


def fixed(delay: Duration, *, jitter: bool = False) -> Backoff:
    """Return a backoff that waits the same time before every retry.

    Args:
        delay: Time to wait.
        jitter: Whether to multiply each delay by a random factor in [0.5, 1).

    Returns:
        A backoff for `@step(backoff=...)`.

    Raises:
        ValueError: `delay` is not a duration.
    """
    return Backoff(kind="fixed", base=parse_duration(delay), cap=None, jitter=jitter)


def exponential(base: Duration = "1s", *, cap: Duration | None = "5 min", jitter: bool = True) -> Backoff:
    """Return a backoff that doubles the delay with every retry.

    Args:
        base: Delay before the first retry.
        cap: Longest delay. None: no limit.
        jitter: Whether to multiply each delay by a random factor in [0.5, 1), so that runs that failed together do
            not retry together.

    Returns:
        A backoff for `@step(backoff=...)`.

    Raises:
        ValueError: `base` or `cap` is not a duration.
    """
    return Backoff(
        kind="exponential",
        base=parse_duration(base),
        cap=None if cap is None else parse_duration(cap),
        jitter=jitter,
    )
