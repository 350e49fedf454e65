"""Deletes old rows: finished runs by policy, and by age the signals and events that no run received."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.records import RetentionPolicy, RunStatus
from fastapi_durable.model.text import shown

_log = logging.getLogger("fastapi_durable")

_MOST_BATCHES: Final = 100
_LARGEST_BATCH: Final = 100_000
_LONGEST_AGE: Final = timedelta(days=36_525)
_LONGEST_PAUSE: Final = timedelta(days=1)
_WORKERS_FORGOTTEN_AFTER: Final = timedelta(days=1)


def keep(*statuses: RunStatus | str, max_age: Duration | None = None, max_count: int | None = None) -> RetentionPolicy:
    """Return a policy for runs that ended with these statuses: `keep("completed", max_age="30 days")`.

    Args:
        statuses: "completed", "failed", "cancelled" or "dead".
        max_age: Workers delete older runs. The age counts from the end of a run. None: no limit.
        max_count: Workers keep this many runs, the newest ones. None: no limit.

    Returns:
        A policy for `Retention(policies=[...])`.

    Raises:
        DefinitionError: a status is not terminal, or neither limit is given.
    """
    try:
        return RetentionPolicy(
            statuses=frozenset(RunStatus(status) for status in statuses),
            max_age=None if max_age is None else parse_duration(max_age),
            max_count=max_count,
        )
    except ValueError as error:
        raise DefinitionError(f"retention: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What workers delete: `DurableOptions(retention=Retention(policies=[keep("completed", max_age="30 days")]))`.

    Without a policy, finished runs stay forever. Events that no run waited for are deleted after `event_ttl`.

    Attributes:
        policies: Policies of `keep()`. Each status may be in one policy.
        signals: Age at which workers delete a signal that no run waited for. None: never.
        sweep_interval: Time between two sweeps of a worker.
        batch_size: Rows to delete in one transaction. A sweep deletes at most 100 batches for each policy.

    Raises:
        DefinitionError: two policies share a status, or an option is out of range.
    """

    policies: Sequence[RetentionPolicy] = ()
    signals: Duration | None = timedelta(days=30)
    sweep_interval: Duration = timedelta(minutes=1)
    batch_size: int = 1000

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", tuple(self.policies))
        seen: set[RunStatus] = set()
        for policy in self.policies:
            if shared := seen & policy.statuses:
                raise DefinitionError(
                    f"each status must be in one retention policy, got {', '.join(sorted(shared))} in two"
                )
            seen |= policy.statuses
        if type(self.batch_size) is not int or not 1 <= self.batch_size <= _LARGEST_BATCH:
            raise DefinitionError(
                f"batch_size must be a whole number from 1 to {_LARGEST_BATCH}, got {shown(self.batch_size)}"
            )
        if self.signals is not None:
            _check_duration("signals", self.signals, _LONGEST_AGE)
        _check_duration("sweep_interval", self.sweep_interval, _LONGEST_PAUSE)


def _check_duration(name: str, value: Duration, longest: timedelta) -> None:
    try:
        fits = timedelta(0) < parse_duration(value) <= longest
    except ValueError:
        fits = False
    if not fits:
        raise DefinitionError(f"{name} must be a positive duration of at most {longest.days} days, got {shown(value)}")


async def sweep(kernel: Kernel, retention: Retention) -> int:
    """Delete expired rows, batch by batch, and return how many."""
    store, now, size = kernel.store, kernel.clock.now(), retention.batch_size
    namespace = kernel.config.namespace
    total = 0
    for policy in retention.policies:
        # If runs have long streams, a batch deletes fewer runs than requested.
        total += await _batches(
            1,
            lambda: store.prune_terminal_runs(policy, now=now, limit=size, namespace=namespace),  # noqa: B023 (awaited)
        )
    if retention.signals is not None:
        signals_before = now - parse_duration(retention.signals)
        total += await _batches(size, lambda: store.prune_buffered_signals(signals_before, limit=size))
    events_before = now - kernel.config.event_ttl
    total += await _batches(size, lambda: store.prune_buffered_events(events_before, limit=size))
    total += await _batches(size, lambda: store.prune_workers(now - _WORKERS_FORGOTTEN_AFTER, limit=size))
    if total:
        _log.info("retention: %s rows were deleted", total)
    return total


async def _batches(size: int, prune: Callable[[], Awaitable[int]]) -> int:
    total = 0
    for _ in range(_MOST_BATCHES):
        pruned = await prune()
        total += pruned
        if pruned < size:
            break
    return total
