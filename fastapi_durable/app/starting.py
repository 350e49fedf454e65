"""The store at the start of a process: how long it may take to answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from fastapi_durable.app.options import DurableOptions
from fastapi_durable.model.errors import StoreConflictError, StoreUnavailableError

_log = logging.getLogger("fastapi_durable")

_SHORTEST_STORE_TIMEOUT = timedelta(seconds=2)
_STARTUP_PAUSE = 0.1


def within_lease(options: DurableOptions) -> DurableOptions:
    """The same, with a store that does not wait for an answer for so long that leases are lost meanwhile."""
    limit = max(options.lease / 3, _SHORTEST_STORE_TIMEOUT)
    return options.model_copy(update={"store": options.store.with_timeout(limit)})


async def answered(options: DurableOptions, ask: Callable[[], Awaitable[None]]) -> None:
    """Ask the store something at the start, again and again while it cannot be reached."""
    limit = options.startup_timeout.total_seconds()
    store = type(options.store).__name__
    failed: StoreUnavailableError | StoreConflictError | None = None
    try:
        async with asyncio.timeout(limit):
            while True:
                try:
                    return await ask()
                except (StoreUnavailableError, StoreConflictError) as error:
                    if failed is None:
                        _log.warning(
                            "the state store (%s) does not answer yet; the start tries again: %s", store, error
                        )
                    failed = error
                await asyncio.sleep(_STARTUP_PAUSE)
    except TimeoutError as error:
        said = "" if failed is None else f": {failed}"
        raise StoreUnavailableError(
            f"the state store ({store}) did not answer within {limit:g} s of the start{said}. Check that the "
            "database is running and that its address is right. DURABLE_STARTUP_TIMEOUT sets how long to wait"
        ) from (failed or error)
