"""The console's reading routes: runs."""

import hashlib
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from fastapi_durable.gateway import ListedRun
from fastapi_durable.model import Run, RunQuery, RunStatus, TimelineSummary
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.run_filters import after_cursor, cursor_of, run_filter, run_query
from fastapi_durable.web.schemas import (
    FacetView,
    Name,
    RunDetailView,
    RunFacetsView,
    RunFilter,
    RunId,
    RunPage,
    RunSummary,
    RunValue,
    StepView,
)
from fastapi_durable.web.scope import ConsoleScope, ScopeDep

_MAX_CHILDREN = 200

FilterDep = Annotated[RunFilter, Depends(run_filter)]


async def list_runs(
    scope: ScopeDep,
    selected: FilterDep,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    total: Annotated[bool, Query(description="Count what matches, too.")] = False,
) -> RunPage:
    """List runs, the newest first, with what each waits for."""
    query = after_cursor(run_query(selected), cursor)
    found = await scope.gateway.list_runs(replace(query, limit=limit + 1))
    shown = found[:limit]
    return RunPage(
        runs=[RunSummary.of(each) for each in shown],
        next_cursor=cursor_of(shown[-1].run) if len(found) > limit else None,
        total=await scope.gateway.count_runs(query) if total else None,
    )


async def run_facets(scope: ScopeDep, selected: FilterDep) -> RunFacetsView:
    """Count runs by status and origin; the filter's own status and origin are left out of account."""
    facets = await scope.gateway.run_facets(run_query(selected))
    return RunFacetsView(
        facets=[FacetView(status=each.status, origin=each.origin, count=each.count) for each in facets],
        total=sum(each.count for each in facets),
    )


async def read_run(
    run_id: RunId,
    request: Request,
    response: Response,
    scope: ScopeDep,
    after: Annotated[int | None, Query(ge=-(2**31), lt=2**31, description="Steps after this `seq` only.")] = None,
    limit: Annotated[int, Query(ge=1, le=2000, description="Steps at most.")] = 500,
) -> Any:
    """Show a run with its timeline and its children. Answers 304 to an `If-None-Match` of the same version."""
    run = await scope.run(run_id)
    # Before what is shown: whatever happens in between makes the next version differ.
    summary = await scope.gateway.summarize_timeline(run_id)
    version = version_of(run, summary)
    response.headers["ETag"] = f'"{version}-{after}-{limit}"'
    if request.headers.get("if-none-match") == response.headers["ETag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": response.headers["ETag"]})
    waiting = await scope.gateway.waiting_for([run_id]) if run.status is RunStatus.SUSPENDED else {}
    return RunDetailView.of_run(
        run,
        waiting.get(run_id),
        version=version,
        timeline=[StepView.of(step) for step in await scope.gateway.timeline(run_id, after=after, limit=limit)],
        timeline_total=summary.steps,
        children=[RunSummary.of(each) for each in await _children(scope, run_id)] if summary.children else [],
        children_total=summary.children,
    )


async def read_run_value(run_id: RunId, key: Name, scope: ScopeDep) -> RunValue:
    """Read what the run's `ctx.set_event(key, ...)` set last."""
    await scope.run(run_id)
    return RunValue(value=await scope.runtime.service.get_event(run_id, key))


def version_of(run: Run, summary: TimelineSummary) -> str:
    """Differs whenever something of the run that is shown does."""
    text = f"{run.status}|{run.updated_at}|{run.wake_count}|{run.wake_at}|{summary}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


async def _children(scope: ConsoleScope, run_id: str) -> list[ListedRun]:
    newest_first = await scope.gateway.list_runs(RunQuery(parent_run_id=run_id, limit=_MAX_CHILDREN))
    return newest_first[::-1]


def run_routes() -> APIRouter:
    """Listing and reading runs."""
    router = APIRouter(route_class=ProblemRoute)
    not_found = problem_responses(HTTPStatus.NOT_FOUND)
    router.get("/runs", operation_id="listRuns", responses=problem_responses())(list_runs)
    router.get("/runs/facets", operation_id="countRuns", responses=problem_responses())(run_facets)
    router.get("/runs/{run_id:path}/values/{key}", operation_id="readRunValue", responses=not_found)(read_run_value)
    return router


def run_detail_route() -> APIRouter:
    """Reading one run: comes last, since an id may hold slashes and would swallow what follows it."""
    router = APIRouter(route_class=ProblemRoute)
    router.get(
        "/runs/{run_id:path}",
        operation_id="readRun",
        response_model=RunDetailView,
        responses={**problem_responses(HTTPStatus.NOT_FOUND), 304: {"description": "Not Modified"}},
    )(read_run)
    return router
