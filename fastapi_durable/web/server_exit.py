"""Two functions that web servers do not offer: whether the server is stopping, and cutting a connection.

uvicorn waits until every open response has ended, and notifies the application only then. An endless response has to
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

    It is always False if uvicorn does not handle the signals of this process: in a thread, under another server, or
    after the application has set its own handlers.
    """
    return any(getattr(owner, "should_exit", None) is True for owner in _owners())


async def cut_connection(scope: Any) -> None:
    """Close the connection of a request at once, and drop data that was sent but not read.

    An ordinary close first empties the buffer, and uvicorn does not stop before that. If uvicorn does not handle the
    signals of this process, nothing happens.
    """
    state = scope.get("state")
    for owner in _owners():
        for connection in tuple(getattr(getattr(owner, "server_state", None), "connections", ())):
            # The state is one object for each request, in every copy of the scope.
            if state is not None and (getattr(connection, "scope", None) or {}).get("state") is state:
                connection.transport.abort()
    await asyncio.sleep(0)  # the server notices it, and logs no error about an incomplete response


def _owners() -> Iterator[object]:
    """Return the objects whose methods handle the signals."""
    return (getattr(signal.getsignal(number), "__self__", None) for number in _SIGNALS)
