"""The console's changing routes for live runs."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from fastapi_durable.model.errors import RunStateError
from fastapi_durable.web.bodies import CancelRun, ContinueRun, PublishEvent, SendSignal, SendUpdate
from fastapi_durable.web.preconditions import same_version
from fastapi_durable.web.problems import NobodyWaitsError, NotPermittedError, ProblemRoute, problem_responses
from fastapi_durable.web.schemas import EventPublished, Name, RunChanged, RunId, SignalSent, UpdateSent
from fastapi_durable.web.scope import ScopeDep


async def send_signal(body: SendSignal, scope: ScopeDep) -> SignalSent:
    """Send a signal to the run that waits for it, or keep it for the next run that will.

    A caller who sees only one namespace reaches only runs that wait in it. For such a caller, no signal is kept.
    """
    if scope.namespace is not None and not scope.sees_everything:
        if not await scope.runtime.service.signal_waiting(body.token, body.payload, namespace=scope.namespace):
            raise NobodyWaitsError(f"no run that you may see waits for {body.token!r}")
        return SignalSent(received=True)
    received = await scope.runtime.service.signal(body.token, body.payload, signal_id=body.signal_id)
    return SignalSent(received=received)


async def publish_event(body: PublishEvent, scope: ScopeDep) -> EventPublished:
    """Publish an event to every run that waits for it, in all namespaces."""
    if not scope.sees_everything:
        raise NotPermittedError("an event reaches runs of every namespace, and the caller sees one only")
    published = await scope.runtime.service.publish_event(
        body.name, body.payload, event_id=body.event_id, buffer=body.buffer
    )
    return EventPublished(
        event_id=published.event_id,
        receivers=list(published.receivers),
        started=list(published.started),
        refused=list(published.refused),
        buffered=published.buffered,
        duplicate=published.duplicate,
    )


async def send_update(run_id: RunId, name: Name, body: SendUpdate, scope: ScopeDep) -> UpdateSent:
    """Send a value to `ctx.on_update(name)` of a run. A refusal by the validator is a normal response, not a
    problem.
    """
    await scope.run(run_id)
    result = await scope.runtime.service.update(run_id, name, body.value)
    return UpdateSent(accepted=result.accepted, received=result.received, reason=result.reason)


async def cancel_run(run_id: RunId, scope: ScopeDep, body: CancelRun | None = None) -> RunChanged:
    """Cancel a run and its live descendants. A run that has ended stays as it is."""
    run = await scope.gateway.cancel(run_id, compensate=body is not None and body.compensate)
    return RunChanged(run_id=run.id, status=run.status)


async def pause_run(run_id: RunId, scope: ScopeDep) -> RunChanged:
    """Pause a run. If a worker drives it, it stops at its next call."""
    run = await scope.gateway.pause(run_id)
    return RunChanged(run_id=run.id, status=run.status)


async def resume_run(run_id: RunId, scope: ScopeDep) -> RunChanged:
    """Resume a paused run."""
    run = await scope.gateway.resume(run_id)
    return RunChanged(run_id=run.id, status=run.status)


async def continue_run(run_id: RunId, scope: ScopeDep, body: ContinueRun | None = None) -> RunChanged:
    """Let a run continue from the breakpoint at which it waits."""
    run = await scope.run(run_id)
    if not await scope.runtime.service.continue_run(run_id, None if body is None else body.label):
        raise RunStateError(run_id, run.status, "continued: it does not stand at this breakpoint")
    run = await scope.run(run_id)
    return RunChanged(run_id=run.id, status=run.status)


def change_routes() -> APIRouter:
    """Return the routes that change live runs."""
    router = APIRouter(route_class=ProblemRoute)
    forbidden = problem_responses(HTTPStatus.FORBIDDEN)
    router.post("/signals", operation_id="sendSignal", responses=problem_responses(HTTPStatus.NOT_FOUND))(send_signal)
    router.post("/events", operation_id="publishEvent", responses=forbidden)(publish_event)
    about_a_run: dict[str, Any] = {
        "dependencies": [same_version],
        "responses": problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED),
    }
    router.post("/runs/{run_id:path}/updates/{name}", operation_id="sendUpdate", **about_a_run)(send_update)
    router.post("/runs/{run_id:path}/cancel", operation_id="cancelRun", **about_a_run)(cancel_run)
    router.post("/runs/{run_id:path}/pause", operation_id="pauseRun", **about_a_run)(pause_run)
    router.post("/runs/{run_id:path}/resume", operation_id="resumeRun", **about_a_run)(resume_run)
    router.post("/runs/{run_id:path}/continue", operation_id="continueRun", **about_a_run)(continue_run)
    return router
