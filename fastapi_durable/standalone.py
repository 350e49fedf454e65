"""Runs a module in a process without a web server until a signal, or only inspects it. The module is found by name."""

import asyncio
import importlib
import logging
import os
import re
import signal
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import ModuleType

from starlette.applications import Starlette

from fastapi_durable.app.runtime import DurableRuntime
from fastapi_durable.app.settings import Role
from fastapi_durable.model.errors import ConfigurationError, DurableError
from fastapi_durable.module import DurableModule
from fastapi_durable.web.probes import Address, answering_probes

_log = logging.getLogger("fastapi_durable")
_WATCH_SECONDS = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TargetError(ConfigurationError):
    """The name on the command line does not lead to a `DurableModule`."""


def load_module(target: str) -> DurableModule:
    """The module that `package.module:attribute` names; the current directory is searched first.

    Raises:
        TargetError: says which part of the name is wrong.
    """
    name, colon, path = target.partition(":")
    if not (name and colon and path):
        raise TargetError(
            f"{target!r} does not name a module object. Write package.module:attribute, such as "
            "example_app.durable:durable"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _imported(name)
    found: object = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise TargetError(f"{name} has no {path!r}{_candidates(module)}") from error
    if isinstance(found, DurableModule):
        return found
    hint = "; that is the web application: name the module whose lifespan it uses" * isinstance(found, Starlette)
    raise TargetError(f"{target} is of type {type(found).__qualname__}, not a DurableModule{hint}{_candidates(module)}")


async def drive(module: DurableModule, *, health: Address | None = None) -> int:
    """Drive runs until SIGTERM or SIGINT, let them come to their next checkpoint, and return the exit code.

    A second signal ends the process at once; what it was doing continues elsewhere when the leases expire.

    Args:
        health: Where to answer probes; None: nowhere.
    """
    starting = asyncio.current_task()
    assert starting is not None  # noqa: S101 # we are in one
    stop = asyncio.Event()
    with _signals_set(stop):
        watch = asyncio.create_task(_cancel_when(stop, starting))
        try:
            async with AsyncExitStack() as stack:
                runtime = await stack.enter_async_context(module.running(role=Role.WORKER))
                if health is not None:
                    await stack.enter_async_context(answering_probes(runtime, health))
                watch.cancel()
                _log.info("the worker drives %s; stop it with SIGTERM or Ctrl-C", _workflows(runtime))
                return await _until(stop, runtime)
        except asyncio.CancelledError:
            if not stop.is_set():
                raise
            _log.info("stopped before the start was complete")
            return 0
        finally:
            watch.cancel()


async def examine(module: DurableModule) -> list[str]:
    """Start everything but the worker, stop it again, and return what was found, a line each."""
    async with module.running(role=Role.API) as runtime:
        await runtime.store.ping()
        return [
            f"store: {type(runtime.store).__name__} answers and has everything it needs",
            f"workflows: {_workflows(runtime)}",
        ]


def explained(error: Exception, *, whole: bool = False) -> str:
    """Return the text to print for an error that ended a command.

    Our own errors speak for themselves; of others it is said where in the application's code they came up. Database
    URLs in other libraries' messages may hold a password, which is left out.

    Args:
        whole: Print the whole traceback instead.
    """
    if whole:
        text = "".join(traceback.format_exception(error)).rstrip()
    else:
        lines = [f"{type(error).__name__}: {error}", *(f"  {note}" for note in getattr(error, "__notes__", ()))]
        if not isinstance(error, DurableError):
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if _is_of_application(frame.filename)
            ]
            lines += [f"  {frame.filename}:{frame.lineno}, in {frame.name}: {frame.line}" for frame in frames]
            lines.append("  (--traceback shows everything)")
        text = "\n".join(lines)
    return re.sub(r"(\w://[^\s:/@]*):[^\s@]*@", r"\1:***@", text)


def _is_of_application(filename: str) -> bool:
    """Neither this library, nor an installed package, nor Python itself."""
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} | {str(Path(__file__).parent)}
    return not filename.startswith(("<", *libraries))


async def _cancel_when(stop: asyncio.Event, task: asyncio.Task[object]) -> None:
    await stop.wait()
    task.cancel()


async def _until(stop: asyncio.Event, runtime: DurableRuntime) -> int:
    """Wait for the signal. If the worker's loops have ended, stop too, so that a supervisor restarts the process."""
    while not stop.is_set():
        try:
            async with asyncio.timeout(_WATCH_SECONDS):
                await stop.wait()
        except TimeoutError:
            if runtime.worker is not None and not runtime.worker.health().alive:
                _log.error("the worker's loops have ended; this process ends, so that its supervisor restarts it")
                return 1
    _log.info("stopping: the worker waits until its runs reach a checkpoint")
    return 0


def _workflows(runtime: DurableRuntime) -> str:
    return ", ".join(f"{each.name} {each.version}" for each in runtime.kernel.registry.declared) or "no workflow"


@contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    """The first signal sets the event, the second ends the process without further ado."""
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(
                f"there is no module {error.name!r}, neither in the current directory ({Path.cwd()}) nor installed"
            ) from error
        raise TargetError(f"{name} cannot be imported: it imports {error.name!r}, which does not exist") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise TargetError(f"{name} cannot be imported: {type(error).__name__}: {error}{place}") from error


def _candidates(module: ModuleType) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, DurableModule))
    return f". It has: {', '.join(f'{module.__name__}:{name}' for name in names)}" if names else ""
