"""A store with something between: calls that are counted, held up, answered wrongly, or fail, as a test wants it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast

from fastapi_durable.store.base import StateStore

Call = Callable[[str, "partial[Awaitable[Any]]"], Awaitable[Any]]
"""Gets a method's name and the call itself, and answers in its place. A commit has the names `commit` and, behind it,
`after commit`."""


def interposed(store: StateStore, between: Call, *, separate: bool = False) -> StateStore:
    """`store`, with `between` asked at every call, those within transactions included.

    Args:
        separate: Whether a worker may also open a connection to it that `between` hears nothing of. Else all its calls
            come from the test's own event loop.
    """
    return cast(StateStore, _InterposedStore(store, between, separate=separate))


class _InterposedStore:
    def __init__(self, inner: Any, between: Call, *, separate: bool = False) -> None:
        self._inner = inner
        self._between = between
        self._separate = separate

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator["_InterposedStore"]:
        await self._between("transaction", _NOTHING)
        async with self._inner.transaction(**options) as transaction:
            yield _InterposedStore(transaction, self._between)
            await self._between("commit", _NOTHING)
        await self._between("after commit", _NOTHING)

    def within(self, client: object) -> "_InterposedStore":
        return _InterposedStore(self._inner.within(client), self._between)

    def after_commit(self, call: Callable[[], None]) -> None:
        self._inner.after_commit(call)

    def separate_connection(self) -> AbstractAsyncContextManager[StateStore] | None:
        connection: AbstractAsyncContextManager[StateStore] | None = self._inner.separate_connection()
        return connection if self._separate else None

    def with_timeout(self, limit: timedelta) -> "_InterposedStore":
        return _InterposedStore(self._inner.with_timeout(limit), self._between, separate=self._separate)

    def with_scope(self, namespace: str) -> "_InterposedStore":
        return _InterposedStore(self._inner.with_scope(namespace), self._between, separate=self._separate)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name in ("client", "prepare_checkpoint") or not callable(attribute):
            return attribute

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._between(name, partial(attribute, *arguments, **options))

        return call


async def _nothing() -> Any:
    pass


_NOTHING: partial[Any] = partial(_nothing)
