"""`ctx.on_update` and `update`: a value that a run accepts at a named point, after a validator had a look at it.

An update is a signal on a token of the run. That the run lives is checked under its lock, in the transaction that
delivers: an update is refused, or it is kept for a run that can still receive it.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from fastapi_durable.definition import NoInput, UpdateValidator, step_definition
from fastapi_durable.engine.services import Services
from fastapi_durable.engine.signal import pass_on, signal_lock
from fastapi_durable.errors import SerializationError
from fastapi_durable.model import Json, Run, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """Whether an update was taken.

    Attributes:
        reason: Why it was not.
        received: The run waited for it and goes on; False: it is kept until the run comes to `ctx.on_update`.
    """

    accepted: bool
    reason: str | None = None
    received: bool = False


def update_token(run_id: str, name: str) -> str:
    """The signal token of a run's update point."""
    return f"update:{run_id}:{name}"


async def refusal_of(services: Services, run: Run | None, run_id: str, name: str, arg: Json) -> str | None:
    """Why the run, as it was read, does not take the update; None if it may."""
    if run is None:
        return f"no run has the id {run_id!r}"
    if reason := _cannot_receive(run):
        return reason
    validator = services.update_validators.get((run.workflow, name))
    if validator is None:
        definition = services.registry.find(run.workflow, run.workflow_version)
        validator = None if definition is None else definition.updates.get(name)
    return None if validator is None else await _verdict(services, validator, name, arg)


async def deliver_update(services: Services, run_id: str, name: str, arg: Json) -> UpdateResult:
    """Hand a validated update to its run, or keep it, if the run still lives."""
    token = update_token(run_id, name)
    async with services.store.transaction(timeout=services.config.transaction_timeout) as transaction:
        await transaction.lock_name(signal_lock(token))
        run = await transaction.lock_run(run_id)
        if run is None:
            return UpdateResult(accepted=False, reason=f"no run has the id {run_id!r}")
        if reason := _cannot_receive(run):
            return UpdateResult(accepted=False, reason=reason)
        receiver = await pass_on(transaction, token, arg, now=services.clock.now())
        return UpdateResult(accepted=True, received=receiver is not None)


def _cannot_receive(run: Run) -> str | None:
    if run.status.is_terminal or run.status is RunStatus.CANCELLING:
        return f"run {run.id!r} is {run.status} and takes no updates"
    return None


async def _verdict(services: Services, validator: UpdateValidator, name: str, arg: Json) -> str | None:
    """What the validator says; its parameter's annotation is checked first."""
    definition = step_definition(validator)
    try:
        value = services.codec.decode(arg, definition.input_type, what=f"update {name!r}")
        verdict: Any = validator() if definition.input_type is NoInput else validator(value)
        if inspect.isawaitable(verdict):
            verdict = await verdict
    except SerializationError as error:
        return str(error)
    except Exception as error:
        return str(error) or type(error).__name__
    return verdict or None
