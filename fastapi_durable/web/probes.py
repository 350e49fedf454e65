"""Health probes and metrics of a process without a web server: three paths, answered by a few lines of asyncio."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi_durable.app.runtime import DurableHealth, DurableRuntime
from fastapi_durable.model.errors import StoreError
from fastapi_durable.web.exposition import MEDIA_TYPE, exposition

Address = tuple[str, int]
"""Host and port; port 0 takes a free one."""

_REQUEST_TIMEOUT = 5.0
_log = logging.getLogger("fastapi_durable")


@asynccontextmanager
async def answering_probes(runtime: DurableRuntime, address: Address) -> AsyncIterator[Address]:
    """Answer `GET /health/live` and `GET /health/ready` with 200 or 503, `GET /metrics`, and yield the address.

    The log has the reason why the store does not answer. The response does not.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Close connections that send nothing, or no valid request.
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _response(runtime, head))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()
            try:
                # The last bytes must still be sent, to a client that may have stopped reading.
                async with asyncio.timeout(_REQUEST_TIMEOUT):
                    await writer.wait_closed()
            except TimeoutError:
                writer.transport.abort()
            except ConnectionError:
                pass

    server = await asyncio.start_server(answer, *address)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        _log.info("probes are answered on http://%s:%d", host, port)
        yield host, port


async def _response(runtime: DurableRuntime, head: bytes) -> bytes:
    method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if path not in ("/health/live", "/health/ready", "/metrics"):
        return _encoded(HTTPStatus.NOT_FOUND, {"detail": "ask /health/live, /health/ready or /metrics"})
    if method != "GET":
        return _encoded(HTTPStatus.METHOD_NOT_ALLOWED, {"detail": "only GET"})
    if path == "/metrics":
        try:
            text = await exposition(runtime, runtime.service, of_process=True)
        except StoreError as error:
            _log.warning("no metrics: %s", error)
            return _encoded(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "the database cannot be used at the moment"})
        return _message(HTTPStatus.OK, MEDIA_TYPE, text.encode())
    health = await runtime.health()
    if health.store_error is not None:
        _log.warning("not ready: %s", health.store_error)
    good = health.live if path == "/health/live" else health.ready
    return _encoded(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, _shown(health))


def _shown(health: DurableHealth) -> dict[str, object]:
    return {"live": health.live, "ready": health.ready, "role": health.role}


def _encoded(status: HTTPStatus, body: dict[str, object]) -> bytes:
    return _message(status, "application/json", json.dumps(body).encode())


def _message(status: HTTPStatus, media_type: str, content: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content
