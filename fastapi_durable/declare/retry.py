"""How long to wait before a failed step is tried again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from fastapi_durable.model.duration import LONGEST, Duration, parse_duration


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before each retry; built with `fixed()` or `exponential()`.

    With `jitter`, a delay is multiplied by a random factor in [0.5, 1), so that runs which failed together do not
    retry together.
    """

    kind: Literal["fixed", "exponential"] = "exponential"
    base: timedelta = timedelta(seconds=1)
    cap: timedelta | None = timedelta(minutes=5)
    jitter: bool = True

    def delay(self, attempts: int, uniform: Callable[[], float]) -> timedelta:
        """The wait after `attempts` failed attempts (1 or more); `uniform` returns a float in [0, 1)."""
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
    """The same delay before every retry.

    Raises:
        ValueError: `delay` is not a duration.
    """
    return Backoff(kind="fixed", base=parse_duration(delay), cap=None, jitter=jitter)


def exponential(base: Duration = "1s", *, cap: Duration | None = "5 min", jitter: bool = True) -> Backoff:
    """`base`, then twice that, four times that, ... up to `cap` (None: no cap).

    Raises:
        ValueError: `base` or `cap` is not a duration.
    """
    return Backoff(
        kind="exponential",
        base=parse_duration(base),
        cap=None if cap is None else parse_duration(cap),
        jitter=jitter,
    )
