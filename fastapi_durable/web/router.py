"""Builds the console from its guards and its routes."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, params

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.declare.entity import EntityDefinition
from fastapi_durable.web.about_routes import about_routes
from fastapi_durable.web.activity_routes import activity_routes
from fastapi_durable.web.change_routes import change_routes
from fastapi_durable.web.dashboard_routes import asset_route, page_route
from fastapi_durable.web.entity_routes import entity_change_routes, entity_routes
from fastapi_durable.web.hosts import required_host
from fastapi_durable.web.login import ConsoleLogin
from fastapi_durable.web.metrics_routes import metrics_routes
from fastapi_durable.web.queue_routes import queue_routes
from fastapi_durable.web.repair_routes import repair_routes
from fastapi_durable.web.run_routes import run_detail_route, run_routes
from fastapi_durable.web.same_origin import require_same_origin
from fastapi_durable.web.scope import TenantDependency, scope_dependency
from fastapi_durable.web.start_routes import start_routes
from fastapi_durable.web.stream_routes import stream_routes
from fastapi_durable.web.upkeep_routes import schedule_change_routes, upkeep_routes

_log = logging.getLogger("fastapi_durable")
_TAG = "durable"


def console_router(
    module: object,
    *,
    workflows: Sequence[WorkflowDefinition],
    entities: Sequence[EntityDefinition],
    dependencies: Sequence[params.Depends],
    view: Sequence[params.Depends],
    operate: Sequence[params.Depends],
    tenant: TenantDependency | None,
    login: ConsoleLogin | None,
    allow_unauthenticated: bool,
    hosts: Sequence[str],
    dashboard: bool,
    include_in_schema: bool,
) -> APIRouter:
    """Return the routes of one module; see `DurableModule.router`."""
    guarded = bool(dependencies or operate or login)
    changing = guarded or allow_unauthenticated
    readable = not (dependencies or view or login)
    _warn(guarded=guarded, readable=readable, allowed=allow_unauthenticated)
    local = [Depends(required_host(hosts))]
    enter = Depends(scope_dependency(module, tenant, may_operate=changing))
    api = APIRouter(prefix="/api", tags=[_TAG], include_in_schema=include_in_schema)
    viewer = [] if login is None else [Depends(login.required("view"))]
    operator = [] if login is None else [Depends(login.required("operate"))]
    before_seeing: list[Any] = local if readable else [*dependencies, *viewer, *view]
    seeing: list[Any] = [*before_seeing, enter]
    reading = (
        about_routes(),
        run_routes(),
        stream_routes(),
        metrics_routes(),
        activity_routes(),
        upkeep_routes(),
        queue_routes(),
        entity_routes(entities),
    )
    for part in reading:
        api.include_router(part, dependencies=seeing)
    if changing:
        before_acting: list[Any] = [*dependencies, *operator, *operate] if guarded else local
        acting: list[Any] = [Depends(require_same_origin), *before_acting, enter]
        changes = (
            # The routes of single workflows show their inputs in the OpenAPI document, which needs no login.
            start_routes([] if guarded or not readable else workflows),
            change_routes(),
            repair_routes(),
            schedule_change_routes(),
            entity_change_routes(entities),
        )
        for part in changes:
            api.include_router(part, dependencies=acting)
    api.include_router(run_detail_route(), dependencies=seeing)
    router = APIRouter()
    router.include_router(api)
    if login is not None:
        router.include_router(login.routes(), dependencies=dependencies)
    if dashboard:
        router.include_router(page_route(login), dependencies=local if readable else [*dependencies, *view])
    if dashboard or login is not None:
        open_page = [*dependencies, *(view if login is None else [])]
        router.include_router(asset_route(), dependencies=local if readable else open_page)
    return router


def _warn(*, guarded: bool, readable: bool, allowed: bool) -> None:
    if not guarded and allowed:
        _log.warning("everyone who can reach the console can change runs (allow_unauthenticated=True)")
    elif not guarded:
        _log.warning(
            "the console's changing routes are not mounted, because nothing guards them. Pass dependencies=[...] or "
            "operate=[...] to durable.router(), or allow_unauthenticated=True if only trusted users can reach it"
        )
    if readable and not allowed:
        _log.warning(
            "everyone who can reach the console can see every run, inputs and outputs included. Pass "
            "dependencies=[...] or view=[...] to durable.router()"
        )
