"""The application of docs/how-to/background-tasks.md runs as it stands there, and its options are those of `add`."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from example_app.clients import postgresql, sqlite
from fastapi_durable.service.tasks import TaskOptions
from tests.integration.order_desk import calling

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "background-tasks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_tasks_are_added_and_executed(
    database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sqlite if database == "sqlite" else postgresql
    monkeypatch.setenv("DATABASE_URL", request.getfixturevalue(f"{database.removesuffix('ql')}_url"))
    monkeypatch.setitem(sys.modules, "prisma_client", client)
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "main"}
    exec(code, names)  # noqa: S102 (the repository's own document)
    app = names["app"]
    async with app.router.lifespan_context(app), calling(app) as http:
        mail = {"id": 7, "to": "ada@example.com"}
        answers = [(await http.post("/mails", json=mail)).json() for _ in range(2)]
        assert answers == [{"task": "send_mail.task:mail:7"}] * 2
        service = names["durable"].runtime(app).service
        assert await service.handle("send_mail.task:mail:7").result("60s") == "sent to ada@example.com"
        shown = (await http.get("/tasks/send_mail.task:mail:7")).json()
        assert shown == {"status": "completed", "result": "sent to ada@example.com"}
        assert (await http.get("/tasks/nobody")).status_code == 404
        guest = (await http.post("/guests", json=mail)).json()
        assert await service.handle(guest["task"]).result("60s") == "sent to ada@example.com"
        reminder = (await http.post("/reminders", json=mail)).json()
        assert (await http.get(f"/tasks/{reminder['task']}")).json()["status"] == "suspended"


def test_every_option_of_add_is_listed() -> None:
    assert [name for name in ("key", *TaskOptions.__annotations__) if f"`{name}=`" not in TEXT] == []
