"""Stores for the applications that a test starts: each application has an empty one of its own."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.stores import DATABASES_SLOWLY

NewStore = Callable[[], AbstractAsyncContextManager[StateStore]]

on_new_stores: Final = pytest.mark.parametrize("new_stores", DATABASES_SLOWLY, indirect=True)
"""Runs a test, or the tests of a module, on each store; on the databases in `make test-slow`."""

_in_use: NewStore = lambda: nullcontext(MemoryStateStore())  # noqa: E731 (a value that a fixture changes)


def new_store() -> AbstractAsyncContextManager[StateStore]:
    """An empty store of the kind that the test is for."""
    return _in_use()


@pytest.fixture(autouse=True)
def new_stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chooses what `new_store` makes: the memory store, or the one that `on_new_stores` names."""
    kind: str = getattr(request, "param", "memory")
    if kind != "memory":
        made = _on_sqlite(request) if kind == "sqlite" else _on_postgresql(request)
        monkeypatch.setattr("tests.support.new_stores._in_use", made)


def _on_sqlite(request: pytest.FixtureRequest) -> NewStore:
    template = Path(request.getfixturevalue("sqlite_url").removeprefix("file:"))
    numbers = count(1)

    @asynccontextmanager
    async def opened() -> AsyncIterator[StateStore]:
        own = template.with_name(f"own{next(numbers)}.db")
        shutil.copyfile(template, own)
        async with store_at(f"file:{own}") as store:
            yield store

    return opened


def _on_postgresql(request: pytest.FixtureRequest) -> NewStore:
    databases: Any = request.getfixturevalue("_reused_databases")

    @asynccontextmanager
    async def opened() -> AsyncIterator[StateStore]:
        with databases.lent() as url:
            async with store_at(url) as store:
                yield store

    return opened


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[StateStore]:
    """The store on a database that has its tables."""
    from example_app.clients import postgresql, sqlite
    from fastapi_durable.store.prisma import PrismaStateStore

    client: Any = sqlite.Prisma if url.startswith("file:") else postgresql.Prisma
    async with client(datasource={"url": url}) as connected:
        yield PrismaStateStore(connected)
