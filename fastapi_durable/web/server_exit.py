"""What this process's web server has no way to say or to do: whether it was asked to stop, and to cut a connection.

uvicorn waits until every open response has ended, and tells the application only then. A response without an end has to
notice earlier. uvicorn handles SIGINT and SIGTERM by a method of its server, which knows whether the server stops, and
which connections there are. This holds for each process of `--reload` and `--workers`: uvicorn stops them by SIGTERM.
"""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def server_is_stopping() -> bool:
    """Return whether uvicorn was asked to stop.

    False, whatever happens, where uvicorn does not handle the signals of this process: in a thread, under another
    server, or after the application has set handlers of its own.
    """
    return any(getattr(owner, "should_exit", None) is True for owner in _owners())


async def cut_connection(scope: Any) -> None:
    """Close the connection of a request at once, without what was sent and not read.

    A connection that is closed in the ordinary way first empties its buffer, and uvicorn does not stop before. Nothing
    is done where uvicorn does not handle the signals of this process.
    """
    state = scope.get("state")
    for owner in _owners():
        for connection in tuple(getattr(getattr(owner, "server_state", None), "connections", ())):
            # The state is one object for each request, in whatever copy of the scope it comes here.
            if state is not None and (getattr(connection, "scope", None) or {}).get("state") is state:
                connection.transport.abort()
    await asyncio.sleep(0)  # the server takes note of it, and does not complain of an answer without an end


def _owners() -> Iterator[object]:
    """The objects whose methods handle the signals."""
    return (getattr(signal.getsignal(number), "__self__", None) for number in _SIGNALS)
