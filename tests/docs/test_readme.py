"""The README's applications run as they stand there."""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from example_app.clients import sqlite
from fastapi_durable import PrismaStateStore, RunStatus
from tests.integration.order_desk import calling
from tests.support.engine_rig import run_has, until

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def block(holding: str) -> str:
    """The one example that has this in it."""
    blocks = re.findall(r"^( *)```python\n(.*?)^\1```", README, re.DOTALL | re.MULTILINE)
    (found,) = [text for _, text in blocks if holding in text]
    return textwrap.dedent(found)


async def test_the_first_application_needs_nothing_else() -> None:
    """It starts a workflow, whose run the console shows after its step, asleep."""
    text = block("MemoryStateStore")
    names: dict[str, Any] = {"__name__": "main"}
    exec(text, names)  # noqa: S102 (the repository's own document)
    app = names["app"]
    async with app.router.lifespan_context(app), calling(app) as client:
        run_id = (await client.post("/guests/ada")).json()["run_id"]
        store = names["durable"].runtime(app).store
        await until(run_has(store, run_id, RunStatus.SUSPENDED))
        shown = (await client.get(f"/durable/api/runs/{run_id}")).json()
        first = shown["timeline"][0]
        assert (first["name"], first["output"]) == ("greet", "Good day, ada")
        assert (await client.get("/durable/")).status_code == 200


async def test_the_application_goes_on_with_the_lines_for_a_database(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take the place of its module; what a run did is there when the application has been started again."""
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setitem(sys.modules, "clients.app", sqlite)
    text, times = re.subn(
        r"^durable = .*\n", lambda _: block("clients.app"), block("MemoryStateStore"), flags=re.MULTILINE
    )
    assert times == 1
    run_id = ""
    for _ in range(2):
        names: dict[str, Any] = {"__name__": "main"}
        exec(text, names)  # noqa: S102 (the repository's own document)
        app = names["app"]
        async with app.router.lifespan_context(app), calling(app) as client:
            run_id = run_id or (await client.post("/guests/ada")).json()["run_id"]
            store = names["durable"].runtime(app).store
            assert isinstance(store, PrismaStateStore)
            await until(run_has(store, run_id, RunStatus.SUSPENDED))
