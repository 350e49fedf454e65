"""How the engine and its worker behave."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from fastapi_durable.declare.concurrency import Adaptive


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of one engine; every duration is a timedelta.

    Attributes:
        namespace: Runs created here belong to it, and only they are picked up. None: created in "default", and
            runs of every namespace are picked up.
        instance_id: Names this process in lease tokens.
        lease: How long a claim holds without renewal. Another process takes a dead one's runs after this time.
        poll_interval: How often the worker looks for work that nobody told it about.
        concurrency: Turns at the same time in this process: a number, or the bounds between which it adapts.
        blocked_poll_interval: How often a run whose code no longer fits its history is tried again.
        max_recovery_attempts: Crashes without progress after which a run is dead; None: never.
        show_running_after: A step that takes longer than this is shown as running in the store.
        inline_retry_below: A retry that is due sooner than this is waited for inside the turn; a later one suspends.
        transaction_timeout: Limit of a `ctx.transaction` body and of the engine's own transactions.
        event_ttl: How long an event that nobody waited for is kept, and how long the id of an event is remembered.
        webhook_url: The address of the public webhook route, or a function from a token, quoted for a path, to the
            whole address.
        shutdown_timeout: How long a stopping worker lets turns reach their next checkpoint.
        thread_grace: How long a run waits for the thread of a plain `def` step that was given up.
    """

    namespace: str | None = None
    instance_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    lease: timedelta = timedelta(seconds=30)
    poll_interval: timedelta = timedelta(seconds=1)
    concurrency: int | Adaptive = 32
    blocked_poll_interval: timedelta = timedelta(seconds=30)
    max_recovery_attempts: int | None = None
    show_running_after: timedelta = timedelta(milliseconds=200)
    inline_retry_below: timedelta = timedelta(seconds=2)
    transaction_timeout: timedelta = timedelta(seconds=10)
    event_ttl: timedelta = timedelta(days=7)
    webhook_url: str | Callable[[str], str] | None = None
    shutdown_timeout: timedelta = timedelta(seconds=10)
    thread_grace: timedelta = timedelta(seconds=30)
