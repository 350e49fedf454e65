"""Positions: the calls of a workflow's body to which recorded rows belong, the same on every replay.

The body itself counts its calls: 0, 1, 2, ... That number is the row's `seq`. A body may also run coroutines at the
same time (`asyncio.gather(order(1), order(2))`, task groups). Which of them reaches its next call first is a matter of
chance: on a replay, recorded results come at once, and in another order. So every branch counts its own calls. A call
of a branch has a key, `2.0` for the first call of the third branch (`2.1.0` inside a branch of it), which the row's
`step_id` contains. The `seq` of such a call only has to be unique, and comes from a separate range. If something else
names a position before its result is recorded, as a waiter does, a `pending` row keeps the position for the replay.

A branch is a task. Its number is the order in which the branches of one task make their first call, which is the order
in which they were created, because the event loop starts tasks in that order. `ctx.gather` numbers its branches itself.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from fastapi_durable.declare.methods import steps_run_by
from fastapi_durable.declare.scoped_values import ScopedValues
from fastapi_durable.model.errors import OutsideWorkflowError
from fastapi_durable.model.records import Checkpoint
from fastapi_durable.store.history import HistoryRow

FIRST_BRANCH_SEQ = 1_000_000
"""The lowest `seq` of rows of branches."""


class _Branch:
    """One task of a body, and its count of calls."""

    def __init__(self, positions: "Positions", parent: "_Branch | None", prefix: str) -> None:
        self.positions = positions
        self.parent = parent
        self.task: asyncio.Task[Any] | None = None
        self.prefix = prefix
        self.opened_at = 0 if parent is None else positions.calls_made
        self.calls = 0
        self.branches = 0


_current: ContextVar[_Branch | None] = ContextVar("durable_branch", default=None)


class Positions:
    """Gives each call of one turn its `seq`."""

    def __init__(self, run_id: str, history: Iterable[HistoryRow | Checkpoint]) -> None:
        self._run_id = run_id
        self._root = _Branch(self, None, "")
        self._seq_of_key: dict[str, int] = {}
        self._key_of_seq: dict[int, str] = {}
        self._next_branch_seq = FIRST_BRANCH_SEQ
        self._log: list[tuple[int, _Branch]] = []
        self._last_calls: dict[str, int] | None = None
        for row in history:
            if row.seq >= FIRST_BRANCH_SEQ:
                self._know(row.step_id.removeprefix(f"{run_id}:"), row.seq)

    @property
    def calls_of_body(self) -> int:
        """Return how many positions the body itself has taken."""
        return self._root.calls

    @property
    def has_branches(self) -> bool:
        """Return whether branches have taken positions, in this turn or an earlier one."""
        return self._next_branch_seq > FIRST_BRANCH_SEQ

    @property
    def calls_made(self) -> int:
        """Return how many calls the body has made so far, including those of its branches."""
        return len(self._log)

    def calls_after(self, seq: int, calls: int) -> list[int]:
        """Return the calls of the branch of `seq`, and of those around it, without the first `calls` ones.

        Branches that ran beside it are left out. Branches that were opened later, by it or around it, are included.
        """
        around: set[_Branch] = set()
        branch = next((branch for other, branch in self._log if other == seq), None)
        while branch is not None:
            around.add(branch)
            branch = branch.parent
        return [other for other, caller in self._log[calls:] if _comes_after(caller, around, calls)]

    def is_replaying(self, history: Iterable[HistoryRow | Checkpoint]) -> bool:
        """Return whether a recorded call of the current task is still ahead.

        It changes nothing, because reading it must not change the positions. Rows that are recorded meanwhile lie
        before the next call, so the history is searched once.
        """
        if self._last_calls is None:
            self._last_calls = {}
            for checkpoint in history:
                if checkpoint.seq >= 0:
                    self._note(self._key_of_seq.get(checkpoint.seq, str(checkpoint.seq)))
        branch = _current.get()
        if branch is None or branch.positions is not self:
            branch = self._root
        if branch.task is asyncio.current_task():
            return branch.calls <= self._last_calls.get(branch.prefix, -1)
        # The task has not made a call yet. It will be the next branch.
        return branch.branches <= self._last_calls.get(f"{branch.prefix}branch", -1)

    def _note(self, key: str) -> None:
        """Note the highest recorded call of each branch, and the highest branch."""
        assert self._last_calls is not None  # noqa: S101 (made by the caller)
        parts = key.split(".")
        for depth, part in enumerate(parts):
            prefix = "".join(f"{each}." for each in parts[:depth])
            place = prefix if depth == len(parts) - 1 else f"{prefix}branch"
            self._last_calls[place] = max(int(part), self._last_calls.get(place, -1))

    def enter_body(self, task: asyncio.Task[Any] | None) -> None:
        """Note the task of the body. Called in that task."""
        self._root.task = task
        _current.set(self._root)

    def take(self) -> int:
        """Return the position of the current task's next call."""
        branch = self._branch()
        number = branch.calls
        branch.calls += 1
        if branch is self._root:
            seq = number
        else:
            key = f"{branch.prefix}{number}"
            if key not in self._seq_of_key:
                self._know(key, self._next_branch_seq)
            seq = self._seq_of_key[key]
        self._log.append((seq, branch))
        return seq

    def give_back(self) -> None:
        """Undo the last `take` of the current task."""
        self._branch().calls -= 1
        self._log.pop()

    def open_branch(self) -> Callable[[], None]:
        """Reserve the next number for a branch whose task does not exist yet. The task calls the returned function."""
        branch = self._new_branch(self._branch())

        def enter() -> None:
            branch.task = asyncio.current_task()
            _current.set(branch)

        return enter

    def step_id(self, seq: int) -> str:
        """Return the id of the call, also for the outside world. It is the same on every attempt and every replay."""
        return f"{self._run_id}:{self._key_of_seq.get(seq, seq)}"

    def _know(self, key: str, seq: int) -> None:
        self._seq_of_key[key] = seq
        self._key_of_seq[seq] = key
        self._next_branch_seq = max(self._next_branch_seq, seq + 1)

    def _branch(self) -> _Branch:
        task = asyncio.current_task()
        branch = _current.get()
        if branch is None or branch.positions is not self:
            # A task with its own context counts as a branch of the body.
            branch = self._root
        if branch.task is not task:
            branch = self._new_branch(branch)
            branch.task = task
            _current.set(branch)
        return branch

    def _new_branch(self, parent: _Branch) -> _Branch:
        parent.branches += 1
        return _Branch(self, parent, f"{parent.prefix}{parent.branches - 1}.")


def _comes_after(caller: _Branch, around: set[_Branch], calls: int) -> bool:
    """Return whether a call of this branch could know what one of `around` had met after this number of calls."""
    branch: _Branch | None = caller
    while branch is not None and branch not in around:
        if branch.opened_at < calls:
            return False
        branch = branch.parent
    return True


_in_step: ContextVar[str | None] = ContextVar("durable_step", default=None)


def inside_step(name: str) -> ScopedValues:
    """Marks the context in which a step's function runs."""
    return ScopedValues((_in_step, name), steps_run_by(None))


def is_inside_step() -> bool:
    """Whether this is the context of a step's function."""
    return _in_step.get() is not None


def refuse_inside_step() -> None:
    """Refuse a call inside a step: a replay does not execute the step, so its calls must not take positions.

    Raises:
        OutsideWorkflowError: this is the context of a step.
    """
    if (name := _in_step.get()) is not None:
        raise OutsideWorkflowError(
            f"the workflow's context was used inside the step {name!r}. A step is a plain function: make the call in "
            "the workflow's body, and pass its result to the step"
        )


def used_too_late(run_id: str) -> OutsideWorkflowError:
    """Return the error for a call after the body's end by code outside the body and its branches."""
    return OutsideWorkflowError(
        f"the context of run {run_id!r} was used after its body had ended, or had been suspended. It belongs to the "
        "body: await there what needs it; elsewhere, use WorkflowService"
    )
