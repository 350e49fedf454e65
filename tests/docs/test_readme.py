"""The README's applications run as they stand there."""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from example_app.clients import postgresql, sqlite
from fastapi_durable import PrismaStateStore, RunStatus
from tests.integration.order_desk import calling
from tests.support.engine_rig import run_has, until

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def block(holding: str) -> str:
    """The one example that has this in it."""
    blocks = re.findall(r"^( *)```python\n(.*?)^\1```", README, re.DOTALL | re.MULTILINE)
    (found,) = [text for _, text in blocks if holding in text]
    return textwrap.dedent(found)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_the_application_goes_on_where_it_stopped(
    database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run did is there when the application has been started again."""
    url: str = request.getfixturevalue("sqlite_url" if database == "sqlite" else "postgres_url")
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setitem(sys.modules, "prisma_client", sqlite if database == "sqlite" else postgresql)
    run_id = ""
    for _ in range(2):
        names: dict[str, Any] = {"__name__": "main"}
        exec(block("prisma_client"), names)  # noqa: S102 (the repository's own document)
        app = names["app"]
        async with app.router.lifespan_context(app), calling(app) as client:
            run_id = run_id or (await client.post("/guests/ada")).json()["run_id"]
            store = names["durable"].runtime(app).store
            assert isinstance(store, PrismaStateStore)
            await until(run_has(store, run_id, RunStatus.SUSPENDED))
            shown = (await client.get(f"/durable/api/runs/{run_id}")).json()
            first = shown["timeline"][0]
            assert (first["name"], first["output"]) == ("greet", "Good day, ada")
            assert (await client.get("/durable/")).status_code == 200
