"""Runs that are given up as dead, and the workflow that handles them.

The transaction that marks a run as dead also creates the run `dlq:<dead run>`, so the letter is started exactly once. A
run that is retried and dies again has a letter for each death: `dlq@2:<dead run>` and so on. A dead letter that dies
has no letter itself.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from fastapi_durable.declare.definition import WorkflowDefinition, is_workflow, workflow, workflow_definition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.create import new_run
from fastapi_durable.engine.runs.input import encode_input
from fastapi_durable.engine.runs.operator_log import RETRY_TRACE
from fastapi_durable.engine.upkeep.letter import Letter
from fastapi_durable.model.errors import InputValidationError, WorkflowNotRegisteredError
from fastapi_durable.model.records import ErrorRecord, Json, Run, RunStatus
from fastapi_durable.model.reserved import DEAD_LETTER
from fastapi_durable.store.base import StateStore, StoreTransaction

_log = logging.getLogger("fastapi_durable")

_LETTERS_LOOKED_AT = 1000
_LETTERS_SHOWN = 50

DeadLetterWorkflow = Callable[..., object] | str


class DeadLetter(BaseModel):
    """The input of a dead-letter workflow. It is stored under the names of nestjs-durable.

    Attributes:
        input: Input of the dead run, in its JSON form.
        error: Why the run was given up.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    dead_run_id: str
    workflow: str
    input: Json = None
    error: Json = None


def inline_handlers(definitions: Iterable[WorkflowDefinition]) -> list[WorkflowDefinition]:
    """Return the workflows that other workflows name by the function, to start when a run is dead or has ended.

    A plain `async def (ctx, letter: DeadLetter)` becomes the workflow `<name>.dlq`, and so on.
    """
    found: dict[tuple[str, str], WorkflowDefinition] = {}
    for definition in definitions:
        for handler, suffix in (
            (definition.dead_letter, "dlq"),
            (definition.on_success, "on_success"),
            (definition.on_failure, "on_failure"),
        ):
            if handler is None or isinstance(handler, str):
                continue
            if not is_workflow(handler):
                workflow(name=f"{definition.name}.{suffix}", version=definition.version)(handler)
            declared = workflow_definition(handler)
            found[declared.key] = declared
    return list(found.values())


async def letter_of_this_death(transaction: StoreTransaction, dead: Run, letter: Run) -> Run:
    """Return `letter` with an id that no earlier death of the run has used.

    A letter and its death are one transaction, and only one of two workers marks the run as dead. So an existing letter
    belongs to an earlier death: before a retry, or of a deleted run that had the same id.
    """
    first = 1 + await _earlier_deaths(transaction, dead.id)
    for number in range(first, first + _LETTERS_LOOKED_AT):
        letter = replace(letter, id=_letter_id(dead.id, number))
        if await transaction.find_run(letter.id) is None:
            break
    return letter


async def letters_of(store: StateStore, run: Run) -> list[str]:
    """Return the ids of a run's dead letters that still exist, in the order of its deaths."""
    if run.recovery_attempts is None or DEAD_LETTER.begins(run.id):
        # Its process has never died.
        return []
    deaths = await _earlier_deaths(store, run.id) + (run.status is RunStatus.DEAD)
    letters = [_letter_id(run.id, number) for number in range(1, min(deaths, _LETTERS_SHOWN) + 1)]
    return [letter for letter in letters if await store.find_run(letter) is not None]


async def _earlier_deaths(store: StateStore, run_id: str) -> int:
    """Return how often the run was retried after it was dead."""
    retries = await store.list_checkpoints_by_name_prefix(run_id, [RETRY_TRACE])
    return sum(isinstance(row.output, dict) and row.output.get("status") == RunStatus.DEAD for row in retries)


def _letter_id(run_id: str, number: int) -> str:
    """The first id has the form of nestjs-durable. `@2:` is not a namespace: those have a length and a dot."""
    return f"{DEAD_LETTER}{run_id}" if number == 1 else f"{DEAD_LETTER.word}@{number}:{run_id}"


def dead_letter_of(kernel: Kernel, run: Run, error: ErrorRecord) -> Letter | None:
    """Return the dead letter of a run. None if no workflow receives it."""
    if DEAD_LETTER.begins(run.id):
        return None
    definition = kernel.registry.find(run.workflow, run.workflow_version)
    handler = (definition and definition.dead_letter) or kernel.dead_letter
    if handler is None:
        return None
    content = DeadLetter(dead_run_id=run.id, workflow=run.workflow, input=run.input, error=error.to_json())
    try:
        receiver = kernel.registry.resolve(handler)
        encoded = encode_input(kernel.codec, receiver, content.model_dump(mode="json", by_alias=True), given=True)
        letter = new_run(
            kernel,
            receiver,
            encoded,
            run_id=f"{DEAD_LETTER}{run.id}",
            namespace=run.namespace,
            traceparent=run.traceparent,
        )
    except (InputValidationError, WorkflowNotRegisteredError):
        # The run is marked as dead all the same. Otherwise it would be driven, and die, again and again.
        _log.exception("run %s is dead, and its dead-letter workflow cannot be started", run.id)
        return None
    return Letter(letter, receiver)
