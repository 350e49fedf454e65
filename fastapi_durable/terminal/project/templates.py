"""The files of a new project."""

from string import Template
from typing import Final

from fastapi_durable.schema import Provider

VARIABLE: Final = "DATABASE_URL"
"""Environment variable with the URL of a new schema's datasource."""
CLIENT: Final = "prisma_client"
"""The package that `generate` writes."""

GENERATOR: Final = f"""\
generator client {{
  provider = "prisma_inprocess"
  output   = "./{CLIENT}"
}}
"""

_DATASOURCE: Final = Template("""\
datasource db {
  provider = "$provider"
  url      = env("$variable")
}
""")

URLS: Final[dict[Provider, str]] = {
    "sqlite": "file:./app.db",
    "postgresql": "postgresql://postgres:postgres@localhost:5432/app",
}

IGNORED: Final = (".venv/", "__pycache__/", ".env", f"/{CLIENT}/", "*.db", "*.db-journal", "*.db-shm", "*.db-wal")

_MAIN: Final = Template('''\
"""Durable workflows on this application's own database: `fastapi dev`."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from $client import Prisma
from pydantic_settings import BaseSettings, SettingsConfigDict

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    PrismaStateStore,
    WorkflowContext,
    WorkflowServiceDep,
    app_scoped,
    step,
    workflow,
)


class Settings(BaseSettings):
    """From the environment, or from the file `.env`."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    $setting: str


@app_scoped
async def get_prisma() -> AsyncIterator[Prisma]:
    """The application's database client: one, as long as the application runs."""
    async with Prisma(datasource={"url": Settings().$setting}) as client:
        yield client


@step
async def greet(name: str) -> str:
    """Once its result is stored, it never runs again."""
    return f"Good day, {name}"


@workflow
async def welcome(ctx: WorkflowContext, name: str) -> str:
    """Kill the process while it sleeps, and start it again: it continues."""
    greeting = await ctx.step(greet, name)
    await ctx.sleep("10s")
    return greeting


durable = DurableModule.for_root_async(
    inject=[get_prisma],
    use_factory=lambda prisma: DurableOptions(store=PrismaStateStore(prisma)),
    workflows=[welcome],
)
app = FastAPI(lifespan=durable.lifespan)
# On your own machine only. Elsewhere it has a login: durable.router(dependencies=[Depends(login)]).
app.include_router(durable.router(allow_unauthenticated=True), prefix="/durable")


@app.post("/guests/{name}", status_code=202)
async def receive(name: str, workflows: WorkflowServiceDep) -> dict[str, str]:
    handle = await workflows.start(welcome, name)
    return {"run_id": handle.run_id}
''')


def datasource(provider: Provider) -> str:
    """The datasource block of a schema."""
    return _DATASOURCE.substitute(provider=provider, variable=VARIABLE)


def main(client: str, variable: str) -> str:
    """The application, with one workflow.

    Args:
        client: The package of the generated client.
        variable: The environment variable with the database's URL.
    """
    return _MAIN.substitute(client=client, setting=variable.lower())
