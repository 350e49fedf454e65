"""The data of charts: how many runs began and ended in each bucket of time, and how long they took."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MOST_BUCKETS: Final = 120
ENTRIES: Final = 12_000
"""Maximum number of index entries that are read for each kind (begun, completed, failed, ...), however large the table
is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityQuery:
    """A window of time, cut into buckets of the same width.

    Attributes:
        start: The beginning of the first bucket, in whole milliseconds.
        width: Of one bucket, in whole milliseconds.
        buckets: 1 to 120.
        namespace, workflow: Count only these runs.
    """

    start: datetime
    width: timedelta
    buckets: int
    namespace: str | None = None
    workflow: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.buckets <= MOST_BUCKETS:
            raise ValueError(f"buckets must be 1 to {MOST_BUCKETS}, got {self.buckets}")
        if self.width < timedelta(milliseconds=1):
            raise ValueError(f"the width of a bucket must be a millisecond or more, got {self.width}")

    @property
    def looked_at(self) -> int:
        """Maximum number of runs of one bucket and kind that are read. If there are more, the count is estimated from
        their density.
        """
        return ENTRIES // self.buckets

    @property
    def sampled(self) -> int:
        """Maximum number of completed runs of one bucket whose latency is read. Some of them may belong to another
        workflow.
        """
        return 100 if self.namespace is None and self.workflow is None else 200

    def beginnings(self) -> list[datetime]:
        """Return the start of each bucket, and the end of the window as the last moment."""
        return [self.start + self.width * number for number in range(self.buckets + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityBucket:
    """Counts from `start` until the next bucket.

    Attributes:
        started: Runs that were created.
        completed, failed, cancelled: Runs that ended; the dead are among the failed.
        estimated: A count is not exact: it is scaled up from the bucket's newest runs, because there are many.
        p50, p95: Of the time from creation to completion, over the bucket's newest completed runs, if there are any.
    """

    start: datetime
    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    estimated: bool = False
    p50: timedelta | None = None
    p95: timedelta | None = None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value that `share` (0 to 1) of the ordered values do not exceed. None if there are no values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def latency(millis: Sequence[float], share: float) -> timedelta | None:
    """Return the percentile of durations in milliseconds."""
    found = percentile(sorted(millis), share)
    return None if found is None else timedelta(milliseconds=found)
