"""The console's reading routes: runs."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from fastapi_durable.engine.upkeep.dead_letter import letters_of
from fastapi_durable.model.records import Run, RunQuery
from fastapi_durable.service.waiting import waits_of
from fastapi_durable.web.bodies import RunFilter
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.run_filters import after_cursor, cursor_of, run_filter, run_query
from fastapi_durable.web.schemas import (
    Name,
    RunDetailView,
    RunFacetsView,
    RunId,
    RunPage,
    RunSummary,
    RunValue,
    StepView,
)
from fastapi_durable.web.scope import ConsoleScope, ScopeDep

COUNTED: Final = 10_000
"""Maximum number of counted runs, so that the response takes no longer if there are more."""
MOST_CHILDREN: Final = 200
_COUNTED_OF_STATUS: Final = 5_000
_COUNTED_OF_STATUS_BY_CONTENT: Final = 1_000

FilterDep = Annotated[RunFilter, Depends(run_filter)]


async def list_runs(
    scope: ScopeDep,
    selected: FilterDep,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    total: Annotated[bool, Query(description="Whether to count the matching runs.")] = False,
) -> RunPage:
    """List runs, the newest first, with what each one waits for."""
    query = after_cursor(run_query(selected), cursor)
    found = await scope.gateway.list_runs(replace(query, limit=limit + 1))
    shown = found[:limit]
    counted = await scope.gateway.count_runs(query, at_most=COUNTED + 1) if total else None
    return RunPage(
        runs=[RunSummary.of(each) for each in shown],
        next_cursor=cursor_of(shown[-1].run) if len(found) > limit else None,
        total=None if counted is None else min(counted, COUNTED),
        total_capped=counted is not None and counted > COUNTED,
    )


async def run_facets(scope: ScopeDep, selected: FilterDep) -> RunFacetsView:
    """Count runs by status and origin. The filter's own status and origin do not apply.

    At most 5,000 runs of each status are counted, or 1,000 if the filter has a tag or an attribute. So the response
    takes no longer if there are more.
    """
    return await facets_of(scope, run_query(selected))


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
    timeline = await scope.gateway.get_timeline(run_id, after=after, limit=limit)
    children = await scope.gateway.list_children(run_id, limit=MOST_CHILDREN)
    version = version_of(run, timeline.version, [each.run for each in children])
    response.headers["ETag"] = f'"{version}-{after}-{limit}"'
    if request.headers.get("if-none-match") == response.headers["ETag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": response.headers["ETag"]})
    below = len(children)
    if below == MOST_CHILDREN:
        below = await scope.gateway.count_runs(RunQuery(parent_run_id=run_id), at_most=COUNTED)
    return RunDetailView.of_run(
        run,
        (await waits_of(scope.store, [run])).get(run_id),
        version=version,
        timeline=[StepView.of(step) for step in timeline.steps],
        timeline_total=timeline.total,
        children=[RunSummary.of(each) for each in children],
        children_total=below,
        dead_letters=await letters_of(scope.store, run),
    )


async def read_run_value(run_id: RunId, key: Name, scope: ScopeDep) -> RunValue:
    """Read what the run's `ctx.set_value(key, ...)` set last."""
    await scope.run(run_id)
    return RunValue(value=await scope.runtime.service.get_value(run_id, key))


async def facets_of(scope: ConsoleScope, query: RunQuery) -> RunFacetsView:
    """Return the counts that are shown with a query's list."""
    # The database has to read the tags and attributes of many runs that do not match.
    most = _COUNTED_OF_STATUS_BY_CONTENT if query.tag or query.attributes else _COUNTED_OF_STATUS
    return RunFacetsView.of(await scope.gateway.run_facets(query, at_most=most + 1), most)


def version_of(run: Run, history: str, children: Sequence[Run]) -> str:
    """Return a text that changes whenever the shown run changes. `history` is the version of its checkpoints."""
    digest = hashlib.sha256(f"{run.status}|{run.updated_at}|{run.wake_count}|{run.wake_at}|{history}".encode())
    for child in children:
        digest.update(f"|{child.id},{child.status},{child.updated_at}".encode())
    return digest.hexdigest()[:20]


async def current_version(scope: ConsoleScope, run: Run) -> str:
    """Return the version of a run, as in `readRun`."""
    history = await scope.store.history_state(run.id)
    children = await scope.gateway.list_children(run.id, limit=MOST_CHILDREN)
    return version_of(run, history.version, [each.run for each in children])


def run_routes() -> APIRouter:
    """Return the routes that list and read runs."""
    router = APIRouter(route_class=ProblemRoute)
    not_found = problem_responses(HTTPStatus.NOT_FOUND)
    router.get("/runs", operation_id="listRuns", responses=problem_responses())(list_runs)
    router.get("/runs/facets", operation_id="countRuns", responses=problem_responses())(run_facets)
    router.get("/runs/{run_id:path}/values/{key}", operation_id="readRunValue", responses=not_found)(read_run_value)
    return router


def run_detail_route() -> APIRouter:
    """Return the route that reads one run. Add it last, because an id may contain slashes and would match longer
    paths.
    """
    router = APIRouter(route_class=ProblemRoute)
    router.get(
        "/runs/{run_id:path}",
        operation_id="readRun",
        response_model=RunDetailView,
        responses={**problem_responses(HTTPStatus.NOT_FOUND), 304: {"description": "Not Modified"}},
    )(read_run)
    return router
