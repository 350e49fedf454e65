"""The README's first application runs as it stands there."""

import re
from pathlib import Path
from typing import Any

from fastapi_durable import RunStatus
from tests.integration.order_desk import calling
from tests.support.engine_rig import run_has, until

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


async def test_the_first_application_needs_nothing_else() -> None:
    """It starts a workflow, whose run the console shows after its step, asleep."""
    (text,) = [each for each in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "MemoryStateStore" in each]
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
