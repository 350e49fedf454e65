"""Serves the dashboard's files from the package: one page, its styles and its scripts, with a strict content policy."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

from fastapi_durable.web.login import ConsoleLogin
from fastapi_durable.web.problems import ProblemRoute

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` a browser sends `Origin: null` with the sign-out form, and over plain HTTP no other header for
    # the check.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Requested each time, and answered with 304 unless another version is installed.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def page_route(login: ConsoleLogin | None) -> APIRouter:
    """Return the route of the page at the prefix. The page contains no data, because the API decides what is shown.
    Users who are not signed in go to the login.
    """
    router = APIRouter(include_in_schema=False, route_class=ProblemRoute)
    index = _files()["index.html"]

    async def page(request: Request, response: Response) -> Response:
        """Show the dashboard."""
        if login is not None and await login.user_of(request, response) is None:
            return login.to_login(request)
        return _answer(request, index)

    router.get("/", name="durable_dashboard")(page)
    return router


def asset_route() -> APIRouter:
    """Return the route of scripts, styles and pictures. The login page needs them before a user is signed in."""
    router = APIRouter(include_in_schema=False, route_class=ProblemRoute)
    found = _files()

    async def asset(name: str, request: Request) -> Response:
        """Send a script, a style sheet or a picture of the dashboard."""
        if name not in found:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return _answer(request, found[name])

    router.get("/assets/{name}", name="durable_dashboard_asset")(asset)
    return router


def _answer(request: Request, file: _File) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def _files() -> dict[str, _File]:
    """Return all files, in memory: they are small, and no path of a request reaches the file system."""
    found: dict[str, _File] = {}
    for entry in files("fastapi_durable.web").joinpath("dashboard").iterdir():
        media_type = _MEDIA_TYPES.get("." + entry.name.rpartition(".")[2])
        if media_type is not None and entry.is_file():
            content = entry.read_bytes()
            found[entry.name] = _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
    return found
