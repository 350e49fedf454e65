"""`If-Match`: a change applies to the run as its reader saw it, and not to a later state.

The check comes before the change. Guards of the change itself refuse what may still happen in between, such as the end
of the run.
"""

from typing import Annotated

from fastapi import Depends, Header

from fastapi_durable.web.problems import PreconditionFailedError
from fastapi_durable.web.run_routes import current_version
from fastapi_durable.web.schemas import RunId
from fastapi_durable.web.scope import ScopeDep


async def require_version(
    run_id: RunId,
    scope: ScopeDep,
    if_match: Annotated[
        str | None, Header(max_length=200, description="The run's `version`, or the ETag of `readRun`.")
    ] = None,
) -> None:
    """Refuse a change if the run is not as the caller saw it.

    Raises:
        RunNotFoundError: the caller sees no such run.
        PreconditionFailedError: the run has changed.
    """
    if if_match is None or if_match.strip() == "*":
        return
    run = await scope.run(run_id)
    seen = if_match.strip().removeprefix("W/").strip('"').partition("-")[0]
    if seen != await current_version(scope, run):
        raise PreconditionFailedError(
            f"run {run_id!r} has changed since it was read: it is {run.status} now. Read it again before you change it"
        )


same_version = Depends(require_version)
