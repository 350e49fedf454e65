"""The transport that needs no broker: every step runs in the process that drives its workflow."""

from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask


class InProcessTransport:
    """Executes each attempt at once, in the event loop of the worker."""

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:
        return await handler(task)
