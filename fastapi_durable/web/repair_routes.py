"""The console's changing routes for failed and ended runs, for one run or many."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query

from fastapi_durable.model.errors import DurableError, RunNotFoundError, RunStateError, StoreUnavailableError
from fastapi_durable.model.records import LIVE_STATUSES, TERMINAL_STATUSES, RunQuery, RunStatus
from fastapi_durable.web.bodies import BulkAction, BulkVerb, ForkRun, RetryWithInput, RunFilter
from fastapi_durable.web.preconditions import same_version
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.run_filters import after_cursor, cursor_of, run_query
from fastapi_durable.web.run_routes import COUNTED
from fastapi_durable.web.schemas import BulkFailure, BulkResult, RunChanged, RunId, RunsDeleted
from fastapi_durable.web.scope import ConsoleScope, ScopeDep

_RETRIABLE = frozenset({RunStatus.FAILED, RunStatus.DEAD, RunStatus.BLOCKED})
_SHOWN_FAILURES = 20
_PAGE = 100


async def retry_run(run_id: RunId, scope: ScopeDep) -> RunChanged:
    """Let a failed, dead or blocked run continue from where it failed."""
    run = await scope.gateway.retry(run_id)
    return RunChanged(run_id=run.id, status=run.status)


async def retry_run_with_input(run_id: RunId, body: RetryWithInput, scope: ScopeDep) -> RunChanged:
    """Do the work of an ended run again with another input, as a new run."""
    if "input" in body.model_fields_set:
        run = await scope.gateway.retry_with_input(run_id, body.input)
    else:
        run = await scope.gateway.retry_with_input(run_id)
    return RunChanged(run_id=run.id, status=run.status)


async def fork_run(run_id: RunId, body: ForkRun, scope: ScopeDep) -> RunChanged:
    """Start a new run with this run's history before a position. This run stays as it is."""
    run = await scope.gateway.fork(run_id, from_step=body.from_step)
    return RunChanged(run_id=run.id, status=run.status)


async def delete_run(
    run_id: RunId,
    scope: ScopeDep,
    force: Annotated[bool, Query(description="Cancel live runs first.")] = False,
) -> RunsDeleted:
    """Remove a run and everything below it."""
    deleted = await scope.gateway.delete_run(run_id, force=force)
    if deleted == 0:
        raise RunNotFoundError(run_id)
    return RunsDeleted(deleted=deleted)


async def act_on_runs(action: BulkVerb, body: BulkAction, scope: ScopeDep) -> BulkResult:
    """Cancel, retry or delete many runs. A run that cannot be changed is counted, and does not stop the others."""
    act, statuses = _action(scope, action, body)
    if body.run_ids is not None:
        chosen = list(dict.fromkeys(body.run_ids))[: body.limit]
        matched = len(chosen)
    else:
        query = run_query(body.filter or RunFilter(), where="body")
        wanted = statuses if query.statuses is None else statuses & query.statuses
        query = replace(query, statuses=frozenset(wanted))
        matched = await scope.gateway.count_runs(query, at_most=COUNTED + 1)
        chosen = await _chosen(scope, query, body.limit)
    failures: list[BulkFailure] = []
    for run_id in chosen:
        try:
            await act(run_id)
        except StoreUnavailableError:
            raise
        except DurableError as error:
            failures.append(BulkFailure(run_id=run_id, reason=str(error)[:500]))
    capped = matched > COUNTED
    matched = max(min(matched, COUNTED), len(chosen))
    return BulkResult(
        matched=matched,
        matched_capped=capped,
        applied=len(chosen) - len(failures),
        failed=len(failures),
        remaining=matched - len(chosen),
        failures=failures[:_SHOWN_FAILURES],
    )


def _action(
    scope: ConsoleScope, action: BulkVerb, body: BulkAction
) -> tuple[Callable[[str], Awaitable[object]], frozenset[RunStatus]]:
    """Return the action on each run, and the statuses to which it applies."""
    gateway = scope.gateway

    async def delete(run_id: str) -> None:
        if await gateway.delete_run(run_id, force=body.force) == 0:
            raise RunNotFoundError(run_id)

    async def cancel(run_id: str) -> None:
        run = await gateway.cancel(run_id, compensate=body.compensate)
        if run.status not in (RunStatus.CANCELLED, RunStatus.CANCELLING):
            raise RunStateError(run_id, run.status, "cancelled")

    match action:
        case "cancel":
            return cancel, LIVE_STATUSES
        case "retry":
            return gateway.retry, _RETRIABLE
        case "delete":
            return delete, frozenset(RunStatus) if body.force else TERMINAL_STATUSES


async def _chosen(scope: ConsoleScope, query: RunQuery, limit: int) -> list[str]:
    """Return the ids of the newest matching runs, before any of them is changed."""
    chosen: list[str] = []
    page = query
    while len(chosen) < limit:
        size = min(_PAGE, limit - len(chosen))
        found = await scope.store.list_runs(replace(page, limit=size))
        chosen += [run.id for run in found]
        if len(found) < size:
            break
        page = after_cursor(query, cursor_of(found[-1]))
    return chosen


def repair_routes() -> APIRouter:
    """Return the routes that retry, fork and delete runs."""
    router = APIRouter(route_class=ProblemRoute)
    about_a_run: dict[str, Any] = {
        "dependencies": [same_version],
        "responses": problem_responses(
            HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.TOO_MANY_REQUESTS
        ),
    }
    router.post("/bulk/{action}", operation_id="actOnRuns", responses=problem_responses())(act_on_runs)
    router.post("/runs/{run_id:path}/retry", operation_id="retryRun", **about_a_run)(retry_run)
    router.post(
        "/runs/{run_id:path}/retry-with-input", operation_id="retryRunWithInput", status_code=201, **about_a_run
    )(retry_run_with_input)
    router.post("/runs/{run_id:path}/fork", operation_id="forkRun", status_code=201, **about_a_run)(fork_run)
    router.delete("/runs/{run_id:path}", operation_id="deleteRun", **about_a_run)(delete_run)
    return router
