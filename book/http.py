"""The routes of the console and of webhooks, read from an application that has all of them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute

from book.docstrings import summary
from book.markdown import code, table
from fastapi_durable import ConsoleLogin, DurableModule, DurableOptions, MemoryStateStore, WorkflowContext, workflow


class Route(NamedTuple):
    """A route of the HTTP API.

    Attributes:
        method: "GET", "POST", "DELETE", ...
        path: Below the prefix at which the router is mounted.
        summary: What it does.
        parameters: The names of its parameters in the path and the query.
    """

    method: str
    path: str
    summary: str
    parameters: tuple[str, ...]


def routes() -> Iterator[Route]:
    """Yield every route: those of the API, then the pages, which are in no OpenAPI document."""
    app = _application()
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            what = " ".join(operation.get("description", operation["summary"]).partition("\n\n")[0].split())
            parameters = (each["name"] for each in operation.get("parameters", ()) if each["in"] != "header")
            yield Route(method.upper(), path, what, tuple(parameters))
    for route in _mounted(app.router):
        if not route.include_in_schema:
            yield from (Route(method, route.path, summary(route.endpoint), ()) for method in sorted(route.methods))


def http_routes() -> str:
    """Return the table of routes."""
    rows = (
        (code(f"{each.method} {each.path}"), each.summary, ", ".join(map(code, each.parameters))) for each in routes()
    )
    return table(("Route", "What it does", "Parameters"), rows)


def _mounted(parent: Any) -> Iterator[Any]:
    """The routes of a router and of those that it includes."""
    for route in parent.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _mounted(route.original_router)


def _application() -> FastAPI:
    @workflow
    async def example(ctx: WorkflowContext) -> None: ...

    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[example])
    app = FastAPI()
    login = ConsoleLogin(authenticate=lambda: None, secret="only for the documentation, signs nothing")  # noqa: S106
    app.include_router(durable.router(login=login))
    app.include_router(durable.webhook_router())
    return app
