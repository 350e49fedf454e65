"""The console's changing routes: start a run, and reach one that lives."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from fastapi_durable.engine.input import NO_INPUT
from fastapi_durable.errors import RunNotFoundError, RunStateError
from fastapi_durable.web.problems import NotPermittedError, ProblemRoute, problem_responses
from fastapi_durable.web.schemas import (
    CancelRun,
    ContinueRun,
    EventPublished,
    Name,
    PublishEvent,
    RunChanged,
    RunId,
    RunStarted,
    SendSignal,
    SendUpdate,
    SignalSent,
    StartRun,
    UpdateSent,
)
from fastapi_durable.web.scope import ScopeDep


async def start_run(workflow: Name, body: StartRun, response: Response, scope: ScopeDep) -> RunStarted:
    """Start a workflow by its name; the input is checked against the workflow's own type (see `listWorkflows`)."""
    if not scope.may_start:
        raise NotPermittedError("runs are created in the module's own namespace, which the caller does not see")
    if body.run_id is not None and await scope.store.find_run(body.run_id) is None:
        other = await scope.runtime.store.find_run(body.run_id)
        if other is not None:
            raise NotPermittedError(f"the id {body.run_id!r} cannot be used")
    handle = await scope.runtime.service.start(
        workflow,
        body.input if "input" in body.model_fields_set else NO_INPUT,
        run_id=body.run_id,
        version=body.version,
        tags=body.tags,
        search_attributes=body.search_attributes,
        priority=body.priority,
    )
    if not handle.created:
        response.status_code = HTTPStatus.OK
    return RunStarted(run_id=handle.run_id, created=handle.created)


async def send_signal(body: SendSignal, scope: ScopeDep) -> SignalSent:
    """Send a signal to the run that waits for it, or into the buffer for the next one that will.

    A caller who sees one namespace only reaches only runs that wait there; signals in the buffer belong to nobody.
    """
    if not scope.sees_everything and await scope.store.find_signal_waiter(body.token) is None:
        raise RunNotFoundError(f"waiting for {body.token}")
    received = await scope.runtime.service.signal(body.token, body.payload, signal_id=body.signal_id)
    return SignalSent(received=received)


async def publish_event(body: PublishEvent, scope: ScopeDep) -> EventPublished:
    """Publish an event to every run that waits for one like it. Events know no namespaces."""
    if not scope.sees_everything:
        raise NotPermittedError("an event reaches runs of every namespace, and the caller sees one only")
    published = await scope.runtime.service.publish_event(
        body.name, body.payload, event_id=body.event_id, buffer=body.buffer
    )
    return EventPublished(
        event_id=published.event_id,
        receivers=list(published.receivers),
        started=list(published.started),
        buffered=published.buffered,
        duplicate=published.duplicate,
    )


async def send_update(run_id: RunId, name: Name, body: SendUpdate, scope: ScopeDep) -> UpdateSent:
    """Offer a value to `ctx.on_update(name)` of a run. A refusal by its validator is an answer, not a problem."""
    await scope.run(run_id)
    result = await scope.runtime.service.update(run_id, name, body.value)
    return UpdateSent(accepted=result.accepted, received=result.received, reason=result.reason)


async def cancel_run(run_id: RunId, scope: ScopeDep, body: CancelRun | None = None) -> RunChanged:
    """Cancel a run and its live descendants; one that has ended stays as it is."""
    run = await scope.gateway.cancel(run_id, compensate=body is not None and body.compensate)
    return RunChanged(run_id=run.id, status=run.status)


async def continue_run(run_id: RunId, scope: ScopeDep, body: ContinueRun | None = None) -> RunChanged:
    """Let a run go on from the breakpoint at which it stands."""
    run = await scope.run(run_id)
    if not await scope.runtime.service.continue_run(run_id, None if body is None else body.label):
        raise RunStateError(run_id, run.status, "continued: it does not stand at this breakpoint")
    run = await scope.run(run_id)
    return RunChanged(run_id=run.id, status=run.status)


def change_routes() -> APIRouter:
    """Starting runs, and reaching those that live."""
    router = APIRouter(route_class=ProblemRoute)
    router.post(
        "/workflows/{workflow}/runs",
        operation_id="startRun",
        status_code=201,
        responses={
            **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN),
            200: {"model": RunStarted, "description": "A run of this id was there before."},
        },
    )(start_run)
    forbidden = problem_responses(HTTPStatus.FORBIDDEN)
    router.post("/signals", operation_id="sendSignal", responses=problem_responses(HTTPStatus.NOT_FOUND))(send_signal)
    router.post("/events", operation_id="publishEvent", responses=forbidden)(publish_event)
    about_a_run = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
    router.post("/runs/{run_id:path}/updates/{name}", operation_id="sendUpdate", responses=about_a_run)(send_update)
    router.post("/runs/{run_id:path}/cancel", operation_id="cancelRun", responses=about_a_run)(cancel_run)
    router.post("/runs/{run_id:path}/continue", operation_id="continueRun", responses=about_a_run)(continue_run)
    return router
