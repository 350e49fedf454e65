"""Keeps other sites from sending changes in a signed-in operator's name (CSRF)."""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from fastapi_durable.web.problems import NotPermittedError

_OWN: Final = frozenset({"same-origin", "none"})


def require_same_origin(request: Request) -> None:
    """Refuse what a browser says comes from another site. Programs send neither header and pass.

    Raises:
        NotPermittedError: it does.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site.lower() not in _OWN:
            raise NotPermittedError("changes are not taken from pages of another site")
        return
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise NotPermittedError("changes are not taken from pages of another site")
