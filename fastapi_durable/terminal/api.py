"""The console's HTTP API, as the commands use it: of a running server, or of a module in this process."""

import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from fastapi import Depends, FastAPI

from fastapi_durable.app.settings import Role
from fastapi_durable.model.errors import ConfigurationError, DurableError
from fastapi_durable.module import DurableModule

_TIMEOUT = 30.0
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_DOTS = frozenset({".", ".."})


class ApiRefusedError(DurableError):
    """The API refused the request. The message is its reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection(Protocol):
    """Sends one request to the API. The path is relative to its prefix."""

    async def __call__(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


class Api:
    """Sends requests, and raises errors with the API's own message."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, path: str, **query: Any) -> Any:
        """Return the response of a reading route.

        Raises:
            ApiRefusedError: it is not one of success.
        """
        answer = await self._send("GET", path, query=query)
        return _content(answer)

    async def changed(self, path: str, seen: str | None, **query: Any) -> tuple[Any, str | None]:
        """Return the response and its ETag. None instead of the response if its ETag is still `seen`."""
        headers = {} if seen is None else {"if-none-match": seen}
        answer = await self._send("GET", path, headers=headers, query=query)
        if answer.status == 304:
            return None, seen
        return _content(answer), answer.headers.get("etag")

    async def post(self, path: str, body: Any = None) -> Any:
        """Return the response of a changing route.

        Raises:
            ApiRefusedError: it is not one of success.
        """
        return _content(await self._send("POST", path, body=body))

    async def _send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, query: Any = None, body: Any = None
    ) -> Answer:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        sent = dict(headers or {})
        if body is not None:
            sent["content-type"] = "application/json"
        text = b"" if body is None else json.dumps(body).encode()
        return await self._connection(method, path, urlencode(given, doseq=True), sent, text)


def quoted(run_id: str) -> str:
    """Return an id as a part of a path. It may contain slashes."""
    return quote(run_id, safe="/")


@asynccontextmanager
async def of_module(module: DurableModule) -> AsyncIterator[Api]:
    """Yield the API of a module that is started here without its worker."""
    app = FastAPI(openapi_url=None)
    # A user who can start the module can do everything, because they have its database.
    app.include_router(module.router(dependencies=[Depends(_anybody)], dashboard=False))
    async with module.running(role=Role.API, app=app):

        async def connection(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
            return await _call(app, method, f"/api/{path}", query, headers, body)

        yield Api(connection)


@asynccontextmanager
async def of_server(url: str) -> AsyncIterator[Api]:
    """Yield the API of a running console.

    `DURABLE_TOKEN` is sent as a bearer token, or `DURABLE_USERNAME` and `DURABLE_PASSWORD` are signed in with: at the
    console's login, and where there is none, by HTTP Basic.

    Raises:
        ConfigurationError: httpx is not installed, or the address is invalid.
        ApiRefusedError: the login is refused, or its session is for HTTPS only.
    """
    try:
        import httpx
    except ImportError as error:
        raise ConfigurationError("--url needs httpx: pip install 'fastapi-durable[cli]'") from error
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ConfigurationError(
            f"--url must be the address of a console, such as https://shop.example/durable, got {url!r}"
        )
    token = os.environ.get("DURABLE_TOKEN")
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT) as client:

        async def send(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
            target = f"{path}?{query}" if query else path
            try:
                found = await client.request(method, target, headers=dict(headers), content=body or None)
            except httpx.HTTPError as error:
                raise ApiRefusedError(0, f"{url} does not answer: {type(error).__name__}: {error}") from error
            return Answer(found.status_code, found.headers, found.content)

        async def connection(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
            _check_place(path)
            return await send(method, f"/api/{path}", query, headers, body)

        username, password = os.environ.get("DURABLE_USERNAME"), os.environ.get("DURABLE_PASSWORD")
        if username is not None and password is not None:
            credentials = json.dumps({"username": username, "password": password}).encode()
            answer = await send("POST", "/login", "", {"content-type": "application/json"}, credentials)
            if _has_no_login(answer):
                client.auth = httpx.BasicAuth(username, password)
            else:
                _content(answer)
                _take_session(client.cookies.jar, url)
        yield Api(connection)


def _check_place(path: str) -> None:
    """Check that a request stays below the console's address, even if clients and proxies normalise its path.

    Raises:
        ApiRefusedError: they may shorten it, and send what proves who the operator is to another address.
    """
    place = unquote(path)
    if not _DOTS.isdisjoint(re.split(r"[/\\]", place)):
        raise ApiRefusedError(
            0,
            f"an id or name must not have a part '.' or '..', because a proxy may change {place!r} to another "
            "address. Name the module instead of --url",
        )


def _has_no_login(answer: Answer) -> bool:
    """Return whether there is no console login at `login`: nothing, or a guard with HTTP Basic."""
    challenge = answer.headers.get("www-authenticate", "")
    return answer.status in (404, 405) or (answer.status == 401 and challenge.lower().startswith("basic"))


def _take_session(session: CookieJar, url: str) -> None:
    """Check that the session is sent to the console again.

    A cookie for HTTPS only stays behind on a plain address. This machine's own counts as safe, as it does for browsers.

    Raises:
        ApiRefusedError: the address is plain and elsewhere.
    """
    parts = urlsplit(url)
    for cookie in session:
        if not cookie.secure or parts.scheme == "https":
            continue
        if parts.hostname not in _THIS_MACHINE:
            raise ApiRefusedError(
                0, f"the login at {url} gives sessions for HTTPS only: use its https address, or `secure=False` there"
            )
        cookie.secure = False


async def _anybody() -> None:
    pass


async def _call(app: FastAPI, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send one request to an application in this process, with the part of ASGI that the commands need."""
    received: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        received.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("in-process", 80),
        "client": ("in-process", 0),
    }
    await app(scope, receive, send)
    start = received[0]
    return Answer(
        start["status"],
        {name.decode().lower(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in received[1:]),
    )


def _content(answer: Answer) -> Any:
    try:
        content = json.loads(answer.body) if answer.body else None
    except ValueError:
        content = None
    if 200 <= answer.status < 300 and (content is not None or not answer.body):
        return content
    reason = content.get("detail") if isinstance(content, dict) else None
    if not isinstance(reason, str):
        reason = "it is not a console of fastapi_durable" if 200 <= answer.status < 400 else "without a reason"
    hints = {
        401: ". Set DURABLE_TOKEN, or DURABLE_USERNAME and DURABLE_PASSWORD",
        404: "" if isinstance(content, dict) and "type" in content else ". Is --url the console's own address?",
    }
    problems = content.get("errors", []) if isinstance(content, dict) else []
    places = "".join(f"; {each['where']}: {each['message']}" for each in problems)
    raise ApiRefusedError(answer.status, f"{reason.rstrip('.')}{places}{hints.get(answer.status, '')}")
