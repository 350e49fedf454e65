"""The application of docs/how-to/transactions.md runs as it stands there."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from example_app.clients import postgresql, sqlite
from tests.integration.order_desk import calling

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "transactions.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_rows_and_runs_are_there_together(
    database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sqlite if database == "sqlite" else postgresql
    monkeypatch.setenv("DATABASE_URL", request.getfixturevalue(f"{database.removesuffix('ql')}_url"))
    monkeypatch.setitem(sys.modules, "prisma_client", client)
    monkeypatch.setitem(sys.modules, "prisma_client.errors", client.errors)
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "main"}
    exec(code, names)  # noqa: S102 (the repository's own document)
    app = names["app"]
    async with app.router.lifespan_context(app), calling(app) as http:
        assert (await http.post("/payments/p-1", params={"cents": 5})).json() == {"run_id": "collect:p-1"}
        assert (await http.post("/payments/p-1", params={"cents": 5})).status_code == 409
        assert (await http.post("/payments/p-1/paid", params={"cents": 7})).status_code == 202
        service = names["durable"].runtime(app).service
        assert await service.handle("collect:p-1").result("60s") == "thank:p-1"
        assert await service.handle("thank:p-1").result("60s") == "thanks for p-1"
        prisma = service._kernel.store._database.client
        assert [row.amountCents for row in await prisma.ledgerentry.find_many()] == [7]
