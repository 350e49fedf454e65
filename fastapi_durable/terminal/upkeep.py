"""Executes the actions of `workers`, `queues` and `schedules` through the console's API."""

import argparse
from urllib.parse import quote

from fastapi_durable.terminal.api import Api
from fastapi_durable.terminal.output import Output
from fastapi_durable.web.queue_routes import QueueList
from fastapi_durable.web.upkeep_routes import ScheduleList, WorkerList


async def act(api: Api, output: Output, arguments: argparse.Namespace) -> int:
    """Execute one action.

    Raises:
        ApiRefusedError: what the API says.
    """
    match arguments.action:
        case "workers":
            output.workers(WorkerList.model_validate(await api.get("workers")).workers)
        case "queues":
            output.queues(QueueList.model_validate(await api.get("queues")).queues)
        case "list":
            output.schedules(ScheduleList.model_validate(await api.get("schedules")).schedules)
        case "trigger":
            started = await api.post(f"schedules/{quote(arguments.key, safe='')}/trigger")
            output.done(started, f"{started['run_id']} was started")
        case "pause" | "resume":
            listed = await api.post(f"schedules/{quote(arguments.key, safe='')}/{arguments.action}")
            found = ScheduleList.model_validate(listed)
            output.schedules([each for each in found.schedules if each.key == arguments.key])
    return 0
