"""What the console keeps to itself, whoever asks."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, RunStatus, WorkflowContext, workflow
from fastapi_durable.terminal import runs as runs_command
from fastapi_durable.terminal.api import of_module
from fastapi_durable.terminal.arguments import describe_runs, read_words
from fastapi_durable.terminal.output import JsonOutput
from fastapi_durable.web import router
from fastapi_durable.web.stream_routes import stream_routes
from tests.console.desk import Desk
from tests.integration.order_desk import calling


@workflow
async def hooked(ctx: WorkflowContext) -> Any:
    return await (await ctx.webhook()).wait()


@asynccontextmanager
async def hook_desk() -> AsyncIterator[tuple[Desk, DurableModule]]:
    module = DurableModule.for_root(DurableOptions(store=MemoryStateStore(), poll_interval="10ms"), workflows=[hooked])
    app = FastAPI(lifespan=module.lifespan)
    app.include_router(module.router(allow_unauthenticated=True))
    async with app.router.lifespan_context(app), calling(app) as client:
        client.base_url = httpx.URL("http://test/api/")
        yield Desk(client, app, module), module


def read(words: list[str]) -> argparse.Namespace:
    """The words of a command line."""
    parser = argparse.ArgumentParser()
    describe_runs(parser)
    arguments = parser.parse_args(words)
    read_words(arguments.command, arguments)
    return arguments


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
        await found.runtime.engine.callback(waiter.token, 1)
        await found.until("a:b", RunStatus.COMPLETED)
        assert secret not in await told()
