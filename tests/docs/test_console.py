"""The Python examples of docs/how-to/ run as they stand there."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel, SecretStr

import fastapi_durable
from tests.integration.order_desk import calling
from tests.support.engine_rig import run_has, until

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "how-to"
TEXT = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("console.md", "monitor.md", "listen.md"))


class Settings(BaseModel):
    vera_password: SecretStr = SecretStr("vera's own password")
    otto_password: SecretStr = SecretStr("otto's own password")


def blocks(title: str) -> list[str]:
    """The Python code of a section."""
    section = re.search(rf"^#+ {title}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section is not None, title
    return re.findall(r"```python\n(.*?)```", section[1], re.DOTALL)


def names(**more: Any) -> dict[str, Any]:
    """What every example may use."""
    store = fastapi_durable.MemoryStateStore()
    durable = fastapi_durable.DurableModule.for_root(fastapi_durable.DurableOptions(store=store))
    public = {name: getattr(fastapi_durable, name) for name in fastapi_durable.__all__}
    return {**public, "durable": durable, "app": FastAPI(lifespan=durable.lifespan), "__name__": __name__, **more}


async def test_the_login_lets_people_in_with_their_roles() -> None:
    found = names(SECRET="s" * 32, SettingsDep=Annotated[Settings, Depends(Settings)])
    (block,) = blocks("A login of its own")
    exec(block, found)  # noqa: S102 (the repository's own document)
    app = found["app"]
    async with app.router.lifespan_context(app), calling(app) as client:
        client.base_url = httpx.URL("https://localhost/durable/")
        assert (await client.get("api/runs")).status_code == 401
        wrong = {"username": "otto", "password": "vera's own password"}
        assert (await client.post("login", json=wrong)).status_code == 401
        for name, may_operate in (("vera", False), ("otto", True)):
            await client.post("login", json={"username": name, "password": f"{name}'s own password"})
            assert (await client.get("api/console")).json()["may_operate"] is may_operate


async def test_the_log_examples_bind_records_to_their_run(caplog: pytest.LogCaptureFixture) -> None:
    found = names(logging=logging, Any=Any)
    filters = list(logging.getLogger().handlers[0].filters)
    for block in blocks("Logs"):
        exec(block, found)  # noqa: S102 (the repository's own document)
    try:
        assert found["add_run"](None, "info", {"event": "hello"}) == {"event": "hello"}
        assert len(logging.getLogger().handlers[0].filters) == len(filters) + 1
    finally:
        logging.getLogger().handlers[0].filters[:] = filters


async def test_the_listener_hears_of_a_run_that_fails() -> None:
    @fastapi_durable.workflow
    async def failing(ctx: fastapi_durable.WorkflowContext) -> None:
        raise fastapi_durable.FatalError("no way")

    store = fastapi_durable.MemoryStateStore()
    durable = fastapi_durable.DurableModule.for_root(
        fastapi_durable.DurableOptions(store=store, poll_interval="10ms"), workflows=[failing]
    )
    pager: list[str] = []
    found = names(
        durable=durable,
        pager=pager,
        asynccontextmanager=asynccontextmanager,
        FastAPI=FastAPI,
        AsyncIterator=AsyncIterator,
    )
    (block,) = blocks("In this process")
    exec(block, found)  # noqa: S102 (the repository's own document)
    app = FastAPI(lifespan=found["lifespan"])
    async with app.router.lifespan_context(app):
        handle = await durable.runtime(app).service.start(failing, run_id="run")
        await until(run_has(store, "run", fastapi_durable.RunStatus.FAILED))
        assert handle.run_id == "run"
    assert pager == ["failing run: no way"]
