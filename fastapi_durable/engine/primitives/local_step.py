"""`ctx.local_step`: a closure of the body as a `Step`. A closure cannot leave the process, so no transport carries
it."""

from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask


class Here:
    """The transport of steps that stay in this process."""

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:
        return await handler(task)
