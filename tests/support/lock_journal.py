"""A journal of the locks of every transaction: which it takes, in which order, and what it does without them.

The rules are those of `StoreTransaction` and of the module that owns each row. A test sees one interleaving of its
transactions; the journal judges every transaction alone, and each pair of them, whether or not they met.
"""

import base64
import re
from collections.abc import Awaitable, Callable, Iterator
from itertools import combinations
from typing import Any

from fastapi_durable.model.records import TERMINAL_STATUSES, RunQuery, SignalWaiter
from fastapi_durable.model.reserved import BREAKPOINT, CHAIN, CHILD, EVENT, SINGLETON, WEBHOOK
from fastapi_durable.store.memory.store import MemoryTransaction
from fastapi_durable.store.prisma.store import PrismaTransaction

_SCOPE = re.compile(r"@(\d+)\.")
_SCHEDULE_TAG = "sched:"
_TAKEN_LAST = "rings:"
"""The one name that is locked behind runs: its transaction waits for nothing while it holds it."""


class LockedTransaction:
    """What one transaction has locked, in order, and what it lacked.

    Attributes:
        names: Locked, in the order in which it took them.
        runs: Whose rows are locked, and with each what was held before it: names as they are, runs as `run <id>`.
        created: Runs that it has inserted: nobody else sees them.
        faults: Rules that it broke.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.runs: dict[str, frozenset[str]] = {}
        self.created: set[str] = set()
        self.faults: list[str] = []
        self._slots_left: dict[str, str] = {}

    @property
    def all_faults(self) -> list[str]:
        """Those that show only once it is over, too."""
        return [*self.faults, *self._slots_left.values()]

    # Locks

    def lock_name(self, name: str) -> None:
        """Note a name, which comes after smaller ones and before every run."""
        if name in self.names:
            return
        if not name.startswith(_TAKEN_LAST):
            if self.runs:
                self.faults.append(f"name {name!r} is locked behind the runs {list(self.runs)}")
            if self.names and self.names[-1] > name:
                self.faults.append(f"name {name!r} is locked behind {self.names[-1]!r}")
        self.names.append(name)

    def lock_run(self, run_id: str) -> None:
        """Note that the run's row is locked, by a read or by a write."""
        if run_id not in self.runs and run_id not in self.created:
            self.runs[run_id] = frozenset([*self.names, *(f"run {held}" for held in self.runs)])

    def holds_run(self, run_id: str) -> bool:
        """Whether nobody else can change the run."""
        return run_id in self.runs or run_id in self.created

    # Rules

    def needs(self, what: str, *names: str, runs: tuple[str, ...] = ()) -> None:
        """Report `what`, unless one of these names, or of these runs, is held."""
        if not any(name in self.names for name in names) and not any(map(self.holds_run, runs)):
            wanted = [*(f"name {name!r}" for name in names), *(f"run {run!r}" for run in runs)]
            self.faults.append(f"{what} without {' or '.join(wanted)}; held: {self.names} and {list(self.runs)}")

    def puts(self, waiter: SignalWaiter) -> None:
        """A waiter is left under what its deliveries lock."""
        token, what = waiter.token, f"waiter {waiter.token!r} is left"
        if CHILD.begins(token):
            self.needs(what, token, runs=(token.removeprefix(str(CHILD)),))
        elif SINGLETON.begins(token):
            if self._slots_left.pop(token, None) is None:
                self.needs(what, _gate(token))
        elif any(prefix.begins(token) for prefix in (WEBHOOK, BREAKPOINT, CHAIN)):
            self.needs(what, runs=(waiter.run_id,))
        else:
            self.needs(what, _name_of(token))

    def removes(self, waiter: SignalWaiter) -> None:
        """A waiter goes while its run, or its token, is kept from everybody else. A slot wakes who waits for it."""
        token = waiter.token
        if SINGLETON.begins(token):
            if _gate(token) not in self.names:
                self._slots_left[token] = f"{token!r} is given up without its gate; held: {self.names}"
        elif CHILD.begins(token):
            self.needs(f"waiter {token!r} is removed", token, runs=(waiter.run_id, token.removeprefix(str(CHILD))))
        else:
            self.needs(f"waiter {token!r} is removed", _name_of(token), runs=(waiter.run_id,))

    def looks_for_waiter(self, token: str) -> None:
        """Who delivers if somebody waits decides under the token's lock."""
        if not any(prefix.begins(token) for prefix in (CHILD, CHAIN, SINGLETON, WEBHOOK, BREAKPOINT)):
            self.needs(f"a waiter of {token!r} is looked for", _name_of(token))

    def takes_waiter(self, token: str) -> None:
        """Who takes a waiter, whoever left it, has kept others from leaving one."""
        self.needs(f"the waiter of {token!r} is taken", token if CHILD.begins(token) else _name_of(token))

    def lists_waiters(self, *, prefix: str | None = None, run_ids: object = None, **_: object) -> None:
        """Who waits at a gate, and for an event, is listed under the name that both sides lock."""
        if prefix is None or run_ids is not None:
            return
        if SINGLETON.begins(prefix):
            self.needs(f"{prefix!r} is listed", _gate(prefix))
        elif EVENT.begins(prefix):
            self.needs(f"{prefix!r} is listed", _name_of(prefix))

    def keeps_signal(self, token: str) -> None:
        """A signal is kept, or taken, under its token's lock."""
        self.needs(f"a signal of {token!r} is kept or taken", f"signal:{_unscoped(token)}")

    def keeps_event(self, name: str) -> None:
        """The same for an event, and for the trace of one that was published."""
        plain = _unscoped(name)
        if not any(
            plain == held.removeprefix(str(EVENT)) or plain.startswith(f"published:{held.removeprefix(str(EVENT))}:")
            for held in self.names
            if held.startswith(str(EVENT))
        ):
            self.needs(f"an event of {name!r} is kept or taken", f"{EVENT}{plain}")

    def counts_runs(self, query: RunQuery) -> None:
        """What a count decides is decided under the name of what is counted."""
        tag = query.tag or ""
        if SINGLETON.begins(tag) and not any(SINGLETON.begins(name) for name in self.names):
            self.needs(f"runs of {tag!r} are counted", f"the gate of {tag}")
        if tag.startswith(_SCHEDULE_TAG) and not any(name.startswith("schedule:") for name in self.names):
            self.needs(f"runs of {tag!r} are counted", f"schedule:{tag}")

    def updates_run(self, run_id: str, changes: dict[str, Any], guards: dict[str, Any]) -> None:
        """A run ends under the name of its end, or locked; an update without a guard is one of a locked run."""
        if changes.get("status") in TERMINAL_STATUSES:
            self.needs(f"run {run_id!r} ends", f"{CHILD}{run_id}", runs=(run_id,))
        if not any(guards.get(guard) is not None for guard in ("statuses", "token", "wake_count")):
            self.needs(f"run {run_id!r} is changed without a guard", runs=(run_id,))


class LockJournal:
    """Every transaction of one test, on whichever store."""

    def __init__(self) -> None:
        # With what they belong to, so that no other object gets its id meanwhile.
        self._transactions: dict[int, tuple[object, LockedTransaction]] = {}
        self._without_order: set[str] = set()

    def of(self, transaction: Any) -> LockedTransaction:
        """What the transaction has locked; its parts, and what sees one namespace of it, are the same one."""
        whole = transaction._session if isinstance(transaction, MemoryTransaction) else transaction.client
        return self._transactions.setdefault(id(whole), (whole, LockedTransaction()))[1]

    def has_no_order(self, *run_ids: str) -> None:
        """These runs wait for one another, so none of them comes before the others."""
        self._without_order.update(run_ids)

    @property
    def faults(self) -> list[str]:
        """What broke a rule, and which transactions would wait for each other if they met."""
        transactions = [transaction for _, transaction in self._transactions.values()]
        broken = [fault for transaction in transactions for fault in transaction.all_faults]
        return list(dict.fromkeys([*broken, *_crossed(transactions, self._without_order)]))

    def watch(self, patch: Callable[[type, str, Any], None]) -> None:
        """Have every transaction tell the journal what it does.

        Args:
            patch: Sets an attribute of a class, and takes that back after the test.
        """
        for kind in (MemoryTransaction, PrismaTransaction):
            for name, tell in _TELLS.items():
                patch(kind, name, self._telling(getattr(kind, name), tell))

    def _telling(self, method: Callable[..., Awaitable[Any]], tell: Callable[..., Awaitable[None]]) -> Any:
        async def call(transaction: Any, *arguments: Any, **options: Any) -> Any:
            await tell(self.of(transaction), transaction, *arguments, **options)
            answer = await method(transaction, *arguments, **options)
            if method.__name__ == "create_run" and answer.created:
                self.of(transaction).created.add(answer.run.id)
            return answer

        return call


def _crossed(transactions: list[LockedTransaction], without_order: set[str]) -> Iterator[str]:
    """Pairs that take two runs in opposite orders, and hold nothing in common before that keeps them apart."""
    several = [each for each in transactions if len(each.runs) > 1]
    for one, other in combinations(several, 2):
        common = [run_id for run_id in one.runs if run_id in other.runs]
        places = {run_id: place for place, run_id in enumerate(other.runs)}
        for first, second in combinations(common, 2):
            if without_order >= {first, second}:
                continue
            if places[first] > places[second] and not one.runs[first] & other.runs[second]:
                yield f"runs {first!r} and {second!r} are locked in both orders: {list(one.runs)}, {list(other.runs)}"


def _unscoped(name: str) -> str:
    """A kept name as it is in its namespace."""
    scope = _SCOPE.match(name)
    return name if scope is None else name[scope.end() + int(scope[1]) + 1 :]


def _name_of(token: str) -> str:
    """What is locked to wait for a token, or to deliver to it."""
    if EVENT.begins(token):
        encoded = token.removeprefix(str(EVENT)).partition(":")[0]
        return f"{EVENT}{base64.b64decode(encoded).decode()}"
    return f"signal:{token}"


def _gate(token: str) -> str:
    """The gate of a slot, or of a place in its queue; three parts, each with its length."""
    rest, gate = token.removeprefix(str(SINGLETON)), []
    for _ in range(3):
        length, _, rest = rest.partition(".")
        gate.append(f"{length}.{rest[: int(length)]}")
        rest = rest[int(length) + 1 :]
    return str(SINGLETON) + ":".join(gate)


# What each call tells: the lock that it takes, or what it needs one for.


async def _lock_name(locked: LockedTransaction, _: Any, name: str) -> None:
    locked.lock_name(name)


async def _lock_run(locked: LockedTransaction, _: Any, run_id: str, **__: Any) -> None:
    locked.lock_run(run_id)


async def _update_run(locked: LockedTransaction, _: Any, run_id: str, changes: dict[str, Any], **guards: Any) -> None:
    locked.updates_run(run_id, changes, guards)
    locked.lock_run(run_id)


async def _record(locked: LockedTransaction, _: Any, checkpoint: Any, *, token: str | None = None) -> None:
    if token is None:
        locked.needs(f"a checkpoint of {checkpoint.run_id!r} is recorded", runs=(checkpoint.run_id,))
    else:
        locked.lock_run(checkpoint.run_id)


async def _change_history(locked: LockedTransaction, _: Any, run_id: str, *__: Any) -> None:
    locked.needs(f"the history of {run_id!r} is changed", runs=(run_id,))


async def _save_checkpoint(locked: LockedTransaction, _: Any, checkpoint: Any) -> None:
    locked.needs(f"the history of {checkpoint.run_id!r} is changed", runs=(checkpoint.run_id,))


async def _create_run(_: LockedTransaction, __: Any, ___: Any) -> None:
    """What is inserted is nobody else's."""


async def _put_waiter(locked: LockedTransaction, _: Any, waiter: SignalWaiter) -> None:
    locked.puts(waiter)


async def _remove_waiter(locked: LockedTransaction, _: Any, waiter: SignalWaiter) -> None:
    locked.removes(waiter)


async def _remove_waiters(locked: LockedTransaction, transaction: Any, run_id: str) -> None:
    for waiter in await transaction.list_signal_waiters(run_ids=[run_id]):
        locked.removes(waiter)


async def _find_waiter(locked: LockedTransaction, _: Any, token: str) -> None:
    locked.looks_for_waiter(token)


async def _take_waiter(locked: LockedTransaction, _: Any, token: str) -> None:
    locked.takes_waiter(token)


async def _list_waiters(locked: LockedTransaction, _: Any, **options: Any) -> None:
    locked.lists_waiters(**options)


async def _keep_signal(locked: LockedTransaction, _: Any, token: str, *__: Any, **___: Any) -> None:
    locked.keeps_signal(token)


async def _keep_event(locked: LockedTransaction, _: Any, event: Any) -> None:
    locked.keeps_event(event.name)


async def _list_events(locked: LockedTransaction, _: Any, name: str, **__: Any) -> None:
    locked.keeps_event(name)


async def _count_runs(locked: LockedTransaction, _: Any, query: RunQuery, **__: Any) -> None:
    locked.counts_runs(query)


async def _find_schedule(locked: LockedTransaction, _: Any, schedule_id: str) -> None:
    locked.needs(f"schedule {schedule_id!r} is read to be changed", f"schedule:{schedule_id}")


async def _save_schedule(locked: LockedTransaction, _: Any, state: Any) -> None:
    locked.needs(f"schedule {state.id!r} is changed", f"schedule:{state.id}")


_TELLS: dict[str, Callable[..., Awaitable[None]]] = {
    "lock_name": _lock_name,
    "lock_run": _lock_run,
    "wake_run": _lock_run,
    "update_run": _update_run,
    "create_run": _create_run,
    "delete_run": _change_history,
    "record_checkpoint": _record,
    "save_checkpoint": _save_checkpoint,
    "remove_checkpoints": _change_history,
    "put_signal_waiter": _put_waiter,
    "take_signal_waiter": _take_waiter,
    "remove_signal_waiter": _remove_waiter,
    "remove_signal_waiters_of_run": _remove_waiters,
    "find_signal_waiter": _find_waiter,
    "list_signal_waiters": _list_waiters,
    "buffer_signal": _keep_signal,
    "take_buffered_signal": _keep_signal,
    "buffer_event": _keep_event,
    "list_buffered_events": _list_events,
    "count_runs": _count_runs,
    "find_schedule": _find_schedule,
    "save_schedule": _save_schedule,
}
