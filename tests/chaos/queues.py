"""What queues promise, checked by what the database itself notes of every lease that changes hands.

Read in their order (see `ledger`), the rows tell how many runs of a queue were leased at any time, and which of them
began when: a claim says so by the lease's end.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from fastapi_durable import Queue
from fastapi_durable.model.duration import parse_duration
from tests.chaos.databases import ChaosDatabase
from tests.chaos.fleet import LEASE_SECONDS


@dataclass
class QueueFindings:
    """What came of one queue.

    Attributes:
        most: Leased at a time, at most.
        begun: Runs that began.
        closest: Milliseconds between a beginning and the one `rate_limit` before it, at least; None: there was none.
        left: Places that nobody gave back.
        wrong: What the queue promised, and did not keep.
    """

    queue: Queue
    most: int = 0
    begun: int = 0
    closest: int | None = None
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        limits = []
        if self.queue.concurrency is not None:
            limits.append(f"at most {self.most} of {self.queue.concurrency} at a time")
        if self.queue.rate_limit is not None:
            limits.append(f"{self.queue.rate_limit + 1} beginnings took at least {self.closest} ms")
        return f"queue {self.queue.name}: {self.begun} runs, {', '.join(limits)}"


def audit_queue(database: ChaosDatabase, queue: Queue) -> QueueFindings:
    """Read what was noted of a queue."""
    found = QueueFindings(queue)
    rows = database.rows(
        f"SELECT run, holder, until, begins FROM chaos_leases WHERE queue = '{queue.name}' ORDER BY id"
    )
    holders: dict[str, str] = {}
    beginnings: defaultdict[str, list[int]] = defaultdict(list)
    for run, holder, until, begins in rows:
        if not holder:
            holders.pop(run, None)
            continue
        holders[run] = holder
        found.most = max(found.most, len(holders))
        if begins == "1":
            beginnings[run].append(int(until) - round(LEASE_SECONDS * 1000))
    found.begun = len(beginnings)
    found.left = [f"a place in {queue.name} for {run}" for run in holders]
    found.wrong += [f"{run} began {len(times)} times" for run, times in beginnings.items() if len(times) > 1]
    if queue.concurrency is not None and found.most > queue.concurrency:
        found.wrong.append(f"{found.most} runs of {queue.name} were leased at a time, not {queue.concurrency}")
    if queue.rate_limit is not None and queue.rate_period is not None:
        moments = sorted(moment for times in beginnings.values() for moment in times)
        spans = [last - first for first, last in zip(moments, moments[queue.rate_limit :], strict=False)]
        found.closest = min(spans, default=None)
        period = parse_duration(queue.rate_period).total_seconds() * 1000
        too_close = sum(span < period for span in spans)
        if too_close:
            found.wrong.append(
                f"{too_close} times {queue.rate_limit + 1} runs of {queue.name} began within {found.closest} ms"
            )
    return found
