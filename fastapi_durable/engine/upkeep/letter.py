"""What the transaction that ends a run starts besides: a dead letter, or what follows an ending."""

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
    """The run that is to be told of another one's end, and what it is a run of."""

    run: Run
    definition: WorkflowDefinition


class Sending:
    """A letter on its way, as part of the transaction that ends a run.

    Args:
        ended: The run that ends.
        letter: What is started; None: nothing.
        numbered: Gives it the id that belongs to this ending.

    Attributes:
        also: What the transaction does; None: nothing.
        locks: The names that it locks for that.
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
        """Tell of a refusal, once the transaction is committed."""
        if self._refused is not None:
            report(kernel, self._refused)

    async def _send(self, letter: Letter, transaction: StoreTransaction) -> None:
        run = await self._numbered(transaction, self._ended, letter.run)
        admitted = await admit_or_refuse(transaction, letter.definition, run)
        self._refused = admitted if isinstance(admitted, Refusal) else None
