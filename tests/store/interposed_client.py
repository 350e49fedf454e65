"""A client between whose statements something happens, or whose answers are lost."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Deed = Callable[[], Awaitable[object]]


class Interruption:
    """What happens right before the next statement with a text in it, and how often."""

    def __init__(self) -> None:
        self.happened = 0
        self._about = ""
        self._times = 0
        self._deed: Deed | None = None

    def plan(self, about: str, deed: Deed, times: int = 1) -> None:
        self.happened, self._about, self._deed, self._times = 0, about, deed, times

    async def meet(self, text: str) -> None:
        if self._deed is not None and self.happened < self._times and self._about in text:
            self.happened += 1
            await self._deed()


def interposed_client(prisma: type[Any]) -> type[Any]:
    """`prisma` with an `interruption`; the edges of a transaction have the texts `BEGIN`, `COMMIT` and `COMMITTED`."""

    class InterposedPrisma(prisma):  # type: ignore[misc]
        interruption = Interruption()

        async def _execute(self, **options: Any) -> Any:
            await self.interruption.meet(str(options["arguments"].get("query", options["method"])))
            return await super()._execute(**options)

        async def _execute_raw_batch(self, statements: Any) -> Any:
            await self.interruption.meet("; ".join(text for text, *_ in statements))
            return await super()._execute_raw_batch(statements)

        def tx(self, **options: Any) -> Any:
            return _edges(super().tx(**options), self.interruption)

    return InterposedPrisma


@asynccontextmanager
async def _edges(transaction: Any, interruption: Interruption) -> AsyncIterator[Any]:
    await interruption.meet("BEGIN")
    async with transaction as client:
        yield client
        await interruption.meet("COMMIT")
    await interruption.meet("COMMITTED")
