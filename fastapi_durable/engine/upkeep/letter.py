"""The run that the transaction that ends another run also creates: a dead letter, or a follow-up."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.subscription import Refusal
from fastapi_durable.engine.runs.create import admit_or_refuse, names_of_beginning, report
from fastapi_durable.model.records import Run
from fastapi_durable.store.base import StoreTransaction


@dataclass(frozen=True, slots=True)
class Letter:
    """A run that handles the end of another run, and its workflow."""

    run: Run
    definition: WorkflowDefinition


class Sending:
    """Creates a letter in the transaction that ends a run.

    Args:
        ended: The run that ends.
        letter: The letter to start. None: nothing is started.
        numbered: Gives the letter the id that belongs to this ending.

    Attributes:
        also: What the transaction does for the letter. None: nothing.
        locks: The names that the transaction locks for it.
    """

    def __init__(
        self,
        ended: Run,
        letter: Letter | None,
        numbered: Callable[[StoreTransaction, Run, Run], Awaitable[Run]],
    ) -> None:
        self.locks = [] if letter is None else names_of_beginning(letter.definition, letter.run)
        self.also = None if letter is None else partial(self._send, letter)
        self._ended = ended
        self._numbered = numbered
        self._refused: Refusal | None = None

    def report(self, kernel: Kernel) -> None:
        """Report a refusal, once the transaction is committed."""
        if self._refused is not None:
            report(kernel, self._refused)

    async def _send(self, letter: Letter, transaction: StoreTransaction) -> None:
        run = await self._numbered(transaction, self._ended, letter.run)
        admitted = await admit_or_refuse(transaction, letter.definition, run)
        self._refused = admitted if isinstance(admitted, Refusal) else None
