"""What the console keeps to itself, whoever asks."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fastapi_durable import (
    DurableError,
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    RunStatus,
    WorkflowContext,
    workflow,
)
from fastapi_durable.errors import StoreError
from fastapi_durable.model.records import Run
from fastapi_durable.store.prisma.failures import translate
from fastapi_durable.terminal import runs as runs_command
from fastapi_durable.terminal.api import of_module
from fastapi_durable.terminal.arguments import describe_runs, read_words
from fastapi_durable.terminal.output import JsonOutput
from fastapi_durable.web import router
from fastapi_durable.web.stream_routes import stream_routes
from tests.console.desk import Desk, desk
from tests.integration.order_desk import calling
from tests.support.new_stores import new_store, on_new_stores


@workflow
async def hooked(ctx: WorkflowContext) -> Any:
    return await (await ctx.webhook()).wait()


class _Talkative(MemoryStateStore):
    """A database that says much of itself."""

    says: DurableError | None = None

    async def find_run(self, run_id: str) -> Run | None:
        if self.says is not None:
            raise self.says
        return await super().find_run(run_id)


def of_the_driver(code: str) -> DurableError:
    """What the store makes of an error of the client."""

    class PrismaError(Exception):
        def __init__(self) -> None:
            super().__init__("relation durable_workflow_runs at host=db.internal")
            self.code = code

    error = translate(PrismaError())
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (of_the_driver("P2010"), 500),  # a statement is refused
        (of_the_driver("P2021"), 503),  # a table is missing
        (of_the_driver("P1001"), 503),
        (of_the_driver("P2034"), 503),
        (of_the_driver("P2020"), 422),  # a value cannot be held
        (StoreError("relation durable_workflow_runs at host=db.internal"), 500),
    ],
)
async def test_what_a_database_says_of_itself_goes_to_the_log_alone(
    error: DurableError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = _Talkative()
    async with desk(store=store) as found:
        store.says = error
        answer = await found.client.get("runs/r")
        store.says = None
    assert answer.status_code == status
    assert not any(word in answer.text for word in ("relation", "durable_", "db.internal", "migrate"))
    assert any("db.internal" in record.getMessage() for record in caplog.records) or status == 422


@asynccontextmanager
async def hook_desk() -> AsyncIterator[tuple[Desk, DurableModule]]:
    async with new_store() as store:
        module = DurableModule.for_root(DurableOptions(store=store, poll_interval="10ms"), workflows=[hooked])
        app = FastAPI(lifespan=module.lifespan)
        app.include_router(module.router(allow_unauthenticated=True))
        async with app.router.lifespan_context(app), calling(app) as client:
            client.base_url = httpx.URL("http://localhost/api/")
            yield Desk(client, app, module), module


def read(words: list[str]) -> argparse.Namespace:
    """The words of a command line."""
    parser = argparse.ArgumentParser()
    describe_runs(parser)
    arguments = parser.parse_args(words)
    read_words(arguments.command, arguments)
    return arguments


@on_new_stores
async def test_nobody_learns_from_the_console_how_to_call_a_webhook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who may look must not be able to forge a callback: neither before it came nor afterwards is its secret shown."""
    monkeypatch.setattr(router, "stream_routes", lambda: stream_routes(lifetime=0))
    async with hook_desk() as (found, module):
        await found.runtime.service.start(hooked, run_id="a:b")
        await found.until("a:b", RunStatus.SUSPENDED)
        (waiter,) = await found.runtime.store.list_signal_waiters()
        secret = waiter.token.rpartition(":")[2]
        listed = (await found.client.get("runs")).json()["runs"]
        assert listed[0]["waiting"] | {"since": None} == {"kind": "webhook", "name": "wh:a:b:0", "since": None}
        paths = ("runs", "runs/a:b", "runs/stream", "runs/a:b/stream", "runs/facets", "metrics")

        async def told() -> str:
            answers = [(await found.client.get(path)).text for path in paths]
            async with of_module(module) as api:
                for words in (["list", "x:y"], ["show", "x:y", "a:b"]):
                    await runs_command.act(api, JsonOutput(), read(words))
            return "".join(answers) + capsys.readouterr().out

        assert secret not in await told()
        await found.runtime.service.callback(waiter.token, 1)
        await found.until("a:b", RunStatus.COMPLETED)
        assert secret not in await told()
