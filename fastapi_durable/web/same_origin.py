"""Keeps other sites from sending changes in a signed-in operator's name (CSRF)."""

import re
from typing import Final

from fastapi import Request

from fastapi_durable.web.problems import NotPermittedError

_OWN: Final = frozenset({"same-origin", "none"})
_ORIGIN: Final = re.compile(r"https?://(?P<authority>[^/?#@\\\s]+)", re.IGNORECASE)


def require_same_origin(request: Request) -> None:
    """Refuse a request that comes from another site according to the browser. Programs send neither header, and pass.

    Raises:
        NotPermittedError: the request comes from another site.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        foreign = site.lower() not in _OWN
    else:
        host = request.headers.get("host", "").lower()
        # Check all of them, because a proxy may use any of several headers.
        foreign = any(_authority(origin) != host for origin in request.headers.getlist("origin"))
    if foreign:
        raise NotPermittedError(
            "a page of another site sent this request. Only pages of the console's own site may change runs"
        )


def _authority(origin: str) -> str | None:
    """Return the host and port of an origin. None if it cannot be read; then it matches no host."""
    found = _ORIGIN.fullmatch(origin)
    return None if found is None else found["authority"].lower()
