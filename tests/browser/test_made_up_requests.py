"""Schemathesis reads the OpenAPI document and sends what it allows, and what it does not."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException

from example_app.clients import postgresql, sqlite
from fastapi_durable import DurableModule, DurableOptions, RunStatus
from fastapi_durable.model.records import RunQuery
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma import PrismaStateStore
from tests.browser.conftest import serving, the_example
from tests.console.desk import WORKFLOWS, Counter, Desk, desk

pytestmark = [pytest.mark.console, pytest.mark.timeout(600)]

SECRET = "kept-from-all-others"
"""What the other tenant's runs take and return."""
FOREIGN = {
    "run_id": ["theirs-waiting", "theirs-updated", "theirs-stopping", "theirs-failed", "theirs-done"],
    "token": ["theirs-token", "update:theirs-updated:amount", "bp:theirs-stopping:0"],
    "key": ["theirs", "stage"],
    "name": ["amount"],
    "namespace": ["globex"],
    "entity": ["Counter"],
    "search": [SECRET],
    "parent_run_id": ["theirs-waiting"],
    "tag": ["theirs"],
}


async def test_every_answer_is_one_that_the_document_promises(seeded_url: str, tmp_path: Path) -> None:
    """No 500, no undocumented status, media type or shape; the streams, which last, are tested elsewhere."""
    async with the_example(seeded_url, tmp_path) as address:
        await made_up_requests(
            address, "status_code_conformance", "content_type_conformance", "response_schema_conformance"
        )


@pytest.fixture
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StateStore]:
    client: Any = sqlite.Prisma if request.param == "sqlite" else postgresql.Prisma
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    async with client(datasource={"url": url}) as connected:
        yield PrismaStateStore(connected)


async def everybody() -> None:
    """The application's own authentication; it lets this caller in."""


async def nobody() -> None:
    raise HTTPException(403, "viewers only look")


async def acme() -> str:
    return "acme"


@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
@pytest.mark.parametrize("who", ["tenant", "viewer"])
async def test_who_may_not_changes_and_sees_nothing(store: StateStore, who: str) -> None:
    """He knows the ids, the tokens and the keys of the other tenant, and asks for them."""
    async with desk(store=store, namespace="globex") as theirs:
        await live_there(theirs)
    module = DurableModule.for_root(
        DurableOptions(store=store, poll_interval="20ms"), workflows=WORKFLOWS, entities=[Counter]
    )
    guards: dict[str, Any] = {"tenant": acme} if who == "tenant" else {"operate": [Depends(nobody)]}
    app = FastAPI(lifespan=module.lifespan)
    app.include_router(module.router(dependencies=[Depends(everybody)], **guards), prefix="/durable")
    before = await everything_of(store, "globex")
    assert SECRET in before
    async with serving(app) as address:
        await made_up_requests(
            address,
            "shows_nothing_of_another_tenant",
            each=10,
            FOREIGN_NAMES=json.dumps(FOREIGN),
            FOREIGN_SECRET=SECRET if who == "tenant" else "",
            SCHEMATHESIS_HOOKS="tests.browser.foreign_names",
        )
    assert await everything_of(store, "globex") == before
    if who == "viewer":
        # Nor did he begin anything.
        assert {run.namespace for run in await store.list_runs(RunQuery())} == {"globex"}


async def live_there(theirs: Desk) -> None:
    """Runs of every kind, at rest."""
    service = theirs.runtime.service
    await theirs.waits("theirs-token", "theirs-waiting")
    for name in ("updated", "stopping"):
        await service.start(name, run_id=f"theirs-{name}")
        await theirs.until(f"theirs-{name}", RunStatus.SUSPENDED)
    parcel = {"id": SECRET, "weight": 1}
    await service.start("failing", parcel, run_id="theirs-failed", tags=["theirs"])
    await theirs.until("theirs-failed", RunStatus.FAILED)
    await service.start("send", parcel, run_id="theirs-done")
    await theirs.until("theirs-done", RunStatus.COMPLETED)
    await service.signal("theirs later", SECRET)
    await service.signal_entity(Counter, "theirs", "add", 5)
    await theirs.until("entity@6.globex:Counter:theirs", RunStatus.SUSPENDED)


async def everything_of(store: StateStore, namespace: str) -> str:
    """All rows of a namespace as a text."""
    runs = sorted(await store.list_runs(RunQuery(namespace=namespace, limit=1000)), key=lambda run: run.id)
    rows: list[Any] = []
    for run in runs:
        # When a worker looked at it last is no change.
        rows += [replace(run, updated_at=run.created_at), *await store.list_checkpoints(run.id)]
    waiters = await store.list_signal_waiters(run_ids=[run.id for run in runs])
    return "\n".join(map(repr, [*rows, *waiters]))


async def made_up_requests(address: str, *checks: str, each: int = 25, **environment: str) -> None:
    """Send so many requests to each operation."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"),
        *("--phases", "examples,fuzzing", "--include-path-regex", "^/durable/"),
        *("--max-examples", str(each), "--seed", "7", "--suppress-health-check", "all", "--no-color"),
        *("--exclude-operation-id", "streamRuns", "--exclude-operation-id", "streamRun"),
        *("--checks", ",".join(["not_a_server_error", *checks])),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 540)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()[-8000:]
