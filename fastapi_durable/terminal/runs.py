"""Executes the actions of `runs` through the console's API. It drives no runs."""

import argparse
import asyncio
from typing import Any

from fastapi_durable.terminal.api import Api, quoted
from fastapi_durable.terminal.output import Output, what_changed
from fastapi_durable.web.schemas import RunDetailView, RunPage, RunSummary

_TAIL_INTERVAL = 1.0
_TAIL_RUNS = 100
_PAGE = 200
_STEPS = 2000


async def act(api: Api, output: Output, arguments: argparse.Namespace) -> int:
    """Execute one action. Return 0, or 1 if it was refused or the run did not succeed.

    Raises:
        ApiRefusedError: what the API says.
    """
    match arguments.action:
        case "list":
            output.runs(await _listed(api, arguments))
        case "show":
            output.run(await _detail(api, arguments.run_id))
        case "cancel":
            path = f"runs/{quoted(arguments.run_id)}/cancel"
            changed = await api.post(path, {"compensate": arguments.compensate})
            output.done(changed, f"{changed['run_id']} is {changed['status']}")
            return 0 if changed["status"] in ("cancelled", "cancelling") else 1
        case "pause" | "resume":
            changed = await api.post(f"runs/{quoted(arguments.run_id)}/{arguments.action}")
            output.done(changed, f"{changed['run_id']} is {arguments.action}d, and {changed['status']}")
        case "retry":
            changed = await api.post(f"runs/{quoted(arguments.run_id)}/retry")
            output.done(changed, f"{changed['run_id']} is {changed['status']}")
        case "signal":
            sent = await api.post("signals", {"token": arguments.token, "payload": arguments.payload})
            text = "a run has received it" if sent["received"] else "no run waits for it yet; it is kept"
            output.done(sent, text)
        case "tail":
            follow = _tail_all(api, output) if arguments.run_id is None else _tail(api, output, arguments.run_id)
            return await follow
    return 0


async def _listed(api: Api, arguments: argparse.Namespace) -> list[RunSummary]:
    """Return as many runs as requested, page by page."""
    found: list[RunSummary] = []
    cursor: str | None = None
    while len(found) < arguments.limit:
        page = RunPage.model_validate(
            await api.get(
                "runs",
                status=arguments.status,
                workflow=arguments.workflow,
                tag=arguments.tag,
                attr=arguments.attr or None,
                namespace=arguments.namespace,
                origin=arguments.origin,
                limit=min(_PAGE, arguments.limit - len(found)),
                cursor=cursor,
            )
        )
        found += page.runs
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


async def _detail(api: Api, run_id: str) -> RunDetailView:
    """Return the run with its whole timeline."""
    path = f"runs/{quoted(run_id)}"
    detail = RunDetailView.model_validate(await api.get(path, limit=_STEPS))
    while 0 < len(detail.timeline) < detail.timeline_total:
        more = RunDetailView.model_validate(await api.get(path, limit=_STEPS, after=detail.timeline[-1].seq))
        if not more.timeline:
            break
        detail.timeline += more.timeline
    return detail


async def _tail_all(api: Api, output: Output) -> int:
    """Print changes of the newest runs until the user interrupts."""
    seen: dict[str, str] | None = None
    while True:
        page = RunPage.model_validate(await api.get("runs", limit=_TAIL_RUNS))
        for run in reversed(page.runs):
            if seen is not None and seen.get(run.id) != run.status:
                output.change(run.updated_at, run.id, run.workflow, run.status)
        seen = {run.id: run.status for run in page.runs}
        output.waiting(f"following the newest {_TAIL_RUNS} runs")
        await asyncio.sleep(_TAIL_INTERVAL)


async def _tail(api: Api, output: Output, run_id: str) -> int:
    """Print changes until the run has ended. Only changes are requested from the API."""
    seen: dict[Any, str] = {}
    etag: str | None = None
    path = f"runs/{quoted(run_id)}"
    while True:
        content, etag = await api.changed(path, etag, limit=1)
        if content is not None:
            detail = await _detail(api, run_id)
            _tell_changes(output, detail, seen)
            if detail.status.is_terminal:
                output.waiting(None)
                return 0 if detail.status == "completed" else 1
            done = sum(step.finished_at is not None for step in detail.timeline)
            output.waiting(f"{run_id} is {detail.status}, {done} of {len(detail.timeline)} recorded steps done")
        await asyncio.sleep(_TAIL_INTERVAL)


def _tell_changes(output: Output, detail: RunDetailView, seen: dict[Any, str]) -> None:
    for step in sorted(detail.timeline, key=lambda step: (step.finished_at or step.started_at, step.seq)):
        state = f"{step.status} {step.attempts}"
        if seen.get(step.seq) != state:
            seen[step.seq] = state
            output.change(step.finished_at or step.started_at, detail.id, what_changed(step), step.status)
    if seen.get(detail.id) != detail.status:
        seen[detail.id] = detail.status
        output.change(detail.updated_at, detail.id, detail.workflow, detail.status)
