"""How long to wait before a failed step is tried again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from fastapi_durable.model.duration import LONGEST, Duration, parse_duration


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
