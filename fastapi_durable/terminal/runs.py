"""Does what `runs` was asked for, over the module's own store; drives nothing."""

import argparse
import asyncio
from typing import Any

from fastapi_durable.errors import RunNotFoundError
from fastapi_durable.gateway import RunDetail
from fastapi_durable.model import RunQuery
from fastapi_durable.module import DurableModule
from fastapi_durable.runtime import DurableRuntime
from fastapi_durable.settings import Role
from fastapi_durable.terminal.arguments import query_of
from fastapi_durable.terminal.output import JsonOutput, Output, RichOutput, what_changed
from fastapi_durable.web.run_routes import version_of
from fastapi_durable.web.schemas import RunDetailView, RunSummary, StepView

_TAIL_INTERVAL = 1.0
_TAIL_RUNS = 100


async def act(module: DurableModule, arguments: argparse.Namespace) -> int:
    """Carry out one action; 0, or 1 if it was refused or the run did not succeed.

    Raises:
        ConfigurationError: the module cannot start, or rich is not installed and `--json` was not given.
        DurableError: what the action itself raises.
    """
    output: Output = JsonOutput() if arguments.json else RichOutput()
    async with module.running(role=Role.API) as runtime:
        match arguments.action:
            case "list":
                output.runs(await runtime.gateway.list_runs(query_of(arguments)))
            case "show":
                output.run(await _detail(runtime, arguments.run_id))
            case "cancel":
                run = await runtime.gateway.cancel(arguments.run_id, compensate=arguments.compensate)
                output.done({"run_id": run.id, "status": run.status}, f"{run.id} is {run.status}")
                return 0 if run.status in ("cancelled", "cancelling") else 1
            case "retry":
                run = await runtime.gateway.retry(arguments.run_id)
                output.done({"run_id": run.id, "status": run.status}, f"{run.id} is {run.status}")
            case "signal":
                received = await runtime.service.signal(arguments.token, arguments.payload)
                text = "a run has received it" if received else "nobody waits for it yet: it is kept"
                output.done({"received": received}, text)
            case "tail":
                return await _tail(runtime, output, arguments.run_id)
    return 0


async def _tail(runtime: DurableRuntime, output: Output, run_id: str | None) -> int:
    """Print changes until the run has ended; of all runs, until somebody interrupts."""
    seen: dict[Any, str] = {}
    if run_id is not None:
        await _detail(runtime, run_id)
    else:
        seen = {each.run.id: each.run.status for each in await runtime.gateway.list_runs(RunQuery(limit=_TAIL_RUNS))}
    while True:
        if run_id is None:
            for each in reversed(await runtime.gateway.list_runs(RunQuery(limit=_TAIL_RUNS))):
                if seen.get(each.run.id) != each.run.status:
                    seen[each.run.id] = each.run.status
                    output.change(each.run.updated_at, each.run.id, each.run.workflow, each.run.status)
        else:
            detail = await runtime.gateway.get_run_detail(run_id)
            if detail is None:
                raise RunNotFoundError(run_id)
            _tell_changes(output, detail, seen)
            if detail.run.status.is_terminal:
                return 0 if detail.run.status == "completed" else 1
        await asyncio.sleep(_TAIL_INTERVAL)


def _tell_changes(output: Output, detail: RunDetail, seen: dict[Any, str]) -> None:
    run = detail.run
    for step in sorted(detail.timeline, key=lambda step: (step.finished_at, step.seq)):
        state = f"{step.status} {step.attempts}"
        if seen.get(step.seq) != state:
            seen[step.seq] = state
            output.change(step.finished_at, run.id, what_changed(step), step.status)
    if seen.get(run.id) != run.status:
        seen[run.id] = run.status
        output.change(run.updated_at, run.id, run.workflow, run.status)


async def _detail(runtime: DurableRuntime, run_id: str) -> RunDetailView:
    detail = await runtime.gateway.get_run_detail(run_id)
    if detail is None:
        raise RunNotFoundError(run_id)
    children = await runtime.gateway.list_runs(RunQuery(parent_run_id=run_id))
    history = await runtime.gateway.history_state(run_id)
    return RunDetailView.of_run(
        detail.run,
        detail.waiting,
        version=version_of(detail.run, history.version, [each.run for each in children]),
        timeline=[StepView.of(step) for step in detail.timeline],
        timeline_total=len(detail.timeline),
        children=[RunSummary.of(each) for each in children],
        children_total=len(detail.children),
    )
