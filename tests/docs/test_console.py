"""The Python examples of docs/console.md run as they stand there."""

import re
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI
from pydantic import BaseModel, SecretStr

import fastapi_durable
from tests.integration.order_desk import calling

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "console.md").read_text(encoding="utf-8")


class Settings(BaseModel):
    vera_password: SecretStr = SecretStr("vera's own password")
    otto_password: SecretStr = SecretStr("otto's own password")


def example(title: str) -> str:
    """The Python code of a section."""
    found = re.search(rf"^#+ {title}\n.*?```python\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def names(**more: Any) -> dict[str, Any]:
    """What every example may use."""
    store = fastapi_durable.MemoryStateStore()
    durable = fastapi_durable.DurableModule.for_root(fastapi_durable.DurableOptions(store=store))
    public = {name: getattr(fastapi_durable, name) for name in fastapi_durable.__all__}
    return {**public, "durable": durable, "app": FastAPI(lifespan=durable.lifespan), "__name__": __name__, **more}


async def test_the_login_lets_people_in_with_their_roles() -> None:
    found = names(SECRET="s" * 32, SettingsDep=Annotated[Settings, Depends(Settings)])
    exec(example("A login of its own"), found)  # noqa: S102 (the repository's own document)
    app = found["app"]
    async with app.router.lifespan_context(app), calling(app) as client:
        client.base_url = httpx.URL("https://test/durable/")
        assert (await client.get("api/runs")).status_code == 401
        wrong = {"username": "otto", "password": "vera's own password"}
        assert (await client.post("login", json=wrong)).status_code == 401
        for name, may_operate in (("vera", False), ("otto", True)):
            await client.post("login", json={"username": name, "password": f"{name}'s own password"})
            assert (await client.get("api/console")).json()["may_operate"] is may_operate
