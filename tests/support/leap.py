"""Let the time of an event loop pass at once: what has a limit by the loop's clock reaches it without a real wait."""

import asyncio
from datetime import timedelta


def leap(time: timedelta) -> None:
    """Move the running event loop's clock forward. The loop ends with its test, and the leap with it."""
    loop = asyncio.get_running_loop()
    clock, seconds = loop.time, time.total_seconds()
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]
