"""Opens the API and the output that a command requests."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable

from fastapi_durable.module import DurableModule
from fastapi_durable.terminal.api import Api, of_module, of_server
from fastapi_durable.terminal.output import JsonOutput, Output, RichOutput

Act = Callable[[Api, Output, argparse.Namespace], Awaitable[int]]


def carry_out(act: Act, module: DurableModule | None, arguments: argparse.Namespace) -> int:
    """Run an action to its end, or to Ctrl-C, and return the exit code.

    Raises:
        ConfigurationError: the module cannot start, or what the command needs is not installed.
        DurableError: what the action itself raises.
    """

    async def work() -> int:
        output: Output = JsonOutput() if arguments.json else RichOutput()
        async with of_server(arguments.url) if module is None else of_module(module) as api:
            return await act(api, output, arguments)

    try:
        return asyncio.run(work())
    except KeyboardInterrupt:
        return 130
