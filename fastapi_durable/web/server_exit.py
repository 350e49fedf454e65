"""Whether the web server of this process was asked to stop.

uvicorn waits until every open response has ended, and tells the application only then. A response without an end has to
notice earlier. uvicorn handles SIGINT and SIGTERM by a method of its server, which knows whether the server stops.
This holds for each process of `--reload` and of `--workers`: uvicorn stops them by SIGTERM.
"""

import signal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def server_is_stopping() -> bool:
    """Return whether uvicorn was asked to stop.

    False, whatever happens, where uvicorn does not handle the signals of this process: in a thread, under another
    server, or after the application has set handlers of its own.
    """
    owners = (getattr(signal.getsignal(number), "__self__", None) for number in _SIGNALS)
    return any(getattr(owner, "should_exit", None) is True for owner in owners)
