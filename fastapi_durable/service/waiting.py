"""What a suspended run waits for, as read from the token of its waiter."""

import base64
import binascii
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from fastapi_durable.engine.runs.singleton import key_waited_for
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.model.reserved import BREAKPOINT, CHAIN, CHILD, EVENT, SINGLETON, WEBHOOK, is_engine_token
from fastapi_durable.store.base import StateStore

WaitKind = Literal["signal", "event", "child", "webhook", "breakpoint", "singleton", "pause", "engine"]
_WAITERS_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a suspended run waits for. Timers and retries are not listed, because they end by themselves.

    Attributes:
        kind: Kind of the wait.
        name: The signal's token, the event's name, the child's run id, "breakpoint", or the webhook's token without
            its secret: with the secret, every viewer could call it. For "singleton", the key that has no free slot.
            For "pause", an operator, who resumes the paused run.
            For "engine", the token of an update, a task or an operation of an entity, which callers cannot signal.
    """

    kind: WaitKind
    name: str


async def waits_of(store: StateStore, runs: Iterable[Run]) -> dict[str, Waiting]:
    """Return what each of these runs waits for. Runs that are not suspended, or only wait for a time, are left out."""
    suspended = [run for run in runs if run.status is RunStatus.SUSPENDED]
    paused = {run.id: Waiting("pause", "an operator") for run in suspended if run.is_paused}
    return await first_waits(store, [run.id for run in suspended if run.id not in paused]) | paused


async def first_waits(store: StateStore, run_ids: Collection[str]) -> dict[str, Waiting]:
    """Return what each run waits for at the earliest position, whatever its status; see `waits_of`."""
    if not run_ids:
        return {}
    waiters = await store.list_signal_waiters(run_ids=run_ids, limit=_WAITERS_LIMIT)
    waiters = [each for each in waiters if not CHAIN.begins(each.token)]
    # A slot that the run has is nothing that it waits for.
    waiters = [each for each in waiters if not SINGLETON.begins(each.token) or key_waited_for(each.token) is not None]
    waiters.sort(key=lambda waiter: waiter.seq, reverse=True)
    return {waiter.run_id: _described(waiter.token) for waiter in waiters}


def _described(token: str) -> Waiting:
    """The meaning of a waiter's token."""
    rest = token.partition(":")[2]
    if (key := key_waited_for(token)) is not None:
        return Waiting("singleton", key)
    if WEBHOOK.begins(token):
        return Waiting("webhook", token.rpartition(":")[0])
    if BREAKPOINT.begins(token):
        return Waiting("breakpoint", "breakpoint")
    if CHILD.begins(token):
        return Waiting("child", rest)
    if EVENT.begins(token):
        with suppress(binascii.Error, UnicodeDecodeError):
            return Waiting("event", base64.b64decode(rest.partition(":")[0], validate=True).decode())
    # What only the engine sends has no button: a signal from outside would forge it.
    return Waiting("engine" if is_engine_token(token) else "signal", token)
