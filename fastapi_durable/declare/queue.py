"""Queues: their declaration, and their stored state for all processes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from fastapi_durable.declare.names import checked_scoped_name
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.records import Run

_LARGEST = 1_000_000
_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Queue:
    """Queue in which runs wait for a slot: `DurableOptions(queues=[Queue("mail", concurrency=10)])`.

    The limits hold across all processes on one database, separately in each namespace. A run holds a slot while a
    worker drives it. It gives the slot back when it ends or suspends, and takes one again to continue.

    Attributes:
        name: Name that runs are started with.
        concurrency: Maximum number of runs driven at a time by all workers together. None: no limit.
        worker_concurrency: Maximum number of runs driven at a time by each worker. None: the worker's own limit.
        rate_limit: Maximum number of runs that begin in any `rate_period`, across all workers. A run that continues
            after a pause does not count again. None: no limit.
        rate_period: Length of the period for `rate_limit`.

    Raises:
        DefinitionError: an option is out of range.
    """

    name: str
    concurrency: int | None = None
    worker_concurrency: int | None = None
    rate_limit: int | None = None
    rate_period: Duration | None = None

    def __post_init__(self) -> None:
        checked_scoped_name("name of a queue", self.name)
        for option in ("concurrency", "worker_concurrency", "rate_limit"):
            value = getattr(self, option)
            if value is not None and not (type(value) is int and 1 <= value <= _LARGEST):
                raise DefinitionError(
                    f"{option} of queue {self.name!r} must be 1 to {_LARGEST}, or None, got {value!r}"
                )
        if (self.rate_limit is None) is not (self.rate_period is None):
            raise DefinitionError(
                f"rate_limit and rate_period of queue {self.name!r} must be given together, got one of them"
            )
        if self.rate_period is not None and parse_duration(self.rate_period) < timedelta(milliseconds=1):
            raise DefinitionError(f"rate_period of queue {self.name!r} must be 1ms or more, got {self.rate_period!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A queue as it is stored (table `durable_queues`): its limits, and its recent claims.

    Attributes:
        id: Name of the queue. In a namespace other than `default`, `@6.orders:name`.
        begun: Moments at which runs began and how many, as far back as `rate_period`.
        last_key: Fairness key that was served last.
        claims: Number of claims. It guards a claim: of two workers that read the same state, one claims.
        claimed_at: Time of the last claim.
    """

    id: str
    namespace: str
    name: str
    concurrency: int | None = None
    worker_concurrency: int | None = None
    rate_limit: int | None = None
    rate_period: timedelta | None = None
    begun: tuple[tuple[datetime, int], ...] = ()
    last_key: str = ""
    claims: int = 0
    claimed_at: datetime | None = None
    updated_at: datetime

    def may_begin(self, now: datetime) -> int | None:
        """Return how many runs the rate limit lets begin now. None: any number.

        Args:
            now: The current time.
        """
        if self.rate_limit is None:
            return None
        return max(0, self.rate_limit - sum(number for _, number in self._recent(now)))

    def free_places(self, running: int, running_here: int, limit: int) -> int:
        """Return how many more runs a worker may drive.

        Args:
            running: Number of the queue's runs that all workers drive.
            running_here: Number of the queue's runs that this worker drives.
            limit: Number of runs that this worker wants.
        """
        everywhere = limit if self.concurrency is None else self.concurrency - running
        here = limit if self.worker_concurrency is None else self.worker_concurrency - running_here
        return max(0, min(everywhere, here, limit))

    def next_beginning(self, now: datetime) -> datetime | None:
        """Return when the rate limit lets one more run begin.

        Args:
            now: The current time.

        Returns:
            The moment. None if a run may begin now, or there is no rate limit.
        """
        if self.rate_period is None or self.may_begin(now) != 0:
            return None
        return min(moment for moment, _ in self._recent(now)) + self.rate_period

    def after_claim(self, now: datetime, *, begun: int, last_key: str) -> "QueueState":
        """Return the state after a claim.

        Args:
            now: The current time.
            begun: Number of claimed runs that count for the rate limit.
            last_key: Fairness key that was served last.
        """
        entries = self._recent(now)
        if begun and self.rate_limit is not None:
            # A process whose clock is behind adds to the latest entry, because it must not shorten the times that
            # others have noted.
            moment = max([now, *(each for each, _ in entries)])
            if entries and entries[-1][0] == moment:
                entries[-1] = (moment, entries[-1][1] + begun)
            else:
                entries.append((moment, begun))
            while len(entries) > _ENTRIES:
                # Two entries are merged at the later moment, so slots are held back longer, and never shorter.
                (_, first), (moment, second) = entries[:2]
                entries[:2] = [(moment, first + second)]
        return replace(self, begun=tuple(entries), last_key=last_key, claims=self.claims + 1, claimed_at=now)

    def _recent(self, now: datetime) -> list[tuple[datetime, int]]:
        if self.rate_period is None:
            return []
        return [(moment, number) for moment, number in self.begun if moment > now - self.rate_period]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """A queue with the number of runs that are driven now, and of runs that its limits keep waiting."""

    queue: QueueState
    running: int
    waiting: int


class QueueClaim(NamedTuple):
    """Runs that were claimed from queues, and when to claim again if a rate limit opens then."""

    runs: list[Run]
    again_at: datetime | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that waits for a slot of a queue.

    Attributes:
        place: Turn of its fairness key, counted from the key that was served last.
        since: Start of its wait in milliseconds, less the worth of its priority.
        begins: Whether it has never been driven, so that it counts for the rate limit.
    """

    run_id: str
    key: str
    place: int
    since: int
    begins: bool


def admitted(candidates: Sequence[Candidate], places: int, beginnings: int | None) -> list[Candidate]:
    """Return the runs that get the free slots. The keys take turns, and within a key the longest wait comes first.

    Args:
        beginnings: How many of them may be runs that begin; None: any number.
    """
    lines: dict[int, list[Candidate]] = {}
    for each in sorted(candidates, key=lambda each: (each.place, each.since, each.run_id.encode())):
        lines.setdefault(each.place, []).append(each)
    chosen: list[Candidate] = []
    left = len(candidates) if beginnings is None else beginnings
    while lines and len(chosen) < places:
        for place, line in list(lines.items()):
            if len(chosen) == places:
                break
            following = next((each for each in line if left > 0 or not each.begins), None)
            if following is None:
                del lines[place]
                continue
            line.remove(following)
            left -= following.begins
            chosen.append(following)
    return chosen
