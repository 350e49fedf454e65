"""What a suspended run waits for, as its waiter's token says it."""

import base64
import binascii
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from fastapi_durable.engine.runs.chain import CHAIN
from fastapi_durable.engine.runs.singleton import SINGLETON_TAG
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.store.base import StateStore

WaitKind = Literal["signal", "event", "child", "webhook", "breakpoint"]
_WAITERS_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a suspended run waits for; timers and retries are not listed, they come by themselves.

    Attributes:
        name: The signal's token, the event's name, the child's run id, "breakpoint", or the webhook's token without
            the secret that ends it: with that, whoever looks could call it.
    """

    kind: WaitKind
    name: str


async def waits_of(store: StateStore, runs: Iterable[Run]) -> dict[str, Waiting]:
    """What each of these runs waits for; those that are not suspended, or only wait for a time, are left out."""
    return await first_waits(store, [run.id for run in runs if run.status is RunStatus.SUSPENDED])


async def first_waits(store: StateStore, run_ids: Collection[str]) -> dict[str, Waiting]:
    """Of each run, what it waits for at the earliest position, whatever its status; see `waits_of`."""
    if not run_ids:
        return {}
    waiters = await store.list_signal_waiters(run_ids=run_ids, limit=_WAITERS_LIMIT)
    waiters = [waiter for waiter in waiters if not waiter.token.startswith((SINGLETON_TAG, CHAIN))]
    waiters.sort(key=lambda waiter: waiter.seq, reverse=True)
    return {waiter.run_id: _described(waiter.token) for waiter in waiters}


def _described(token: str) -> Waiting:
    """The meaning of a waiter's token; the prefixes are the reference's."""
    prefix, _, rest = token.partition(":")
    match prefix if rest else "":
        case "wh":
            return Waiting("webhook", token.rpartition(":")[0])
        case "bp":
            return Waiting("breakpoint", "breakpoint")
        case "child":
            return Waiting("child", rest)
        case "event":
            try:
                return Waiting("event", base64.b64decode(rest.partition(":")[0], validate=True).decode())
            except (binascii.Error, UnicodeDecodeError):
                return Waiting("signal", token)
        case _:
            return Waiting("signal", token)
