"""The public route for callbacks: it accepts a body for the webhook whose token ends the address.

It reveals as little as possible to callers. An unknown token, a malformed one and one with a wrong secret get the same
404, so callers cannot probe. A repeated callback gets the same 202 as the first, so a sender may send it again.
"""

import hashlib
import hmac
import json
import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, SecretStr

from fastapi_durable.app.runtime import DurableRuntime, RuntimePart
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.model.errors import (
    SerializationError,
    StoreConflictError,
    StoreUnavailableError,
    TransactionExpiredError,
)
from fastapi_durable.model.records import Json
from fastapi_durable.model.reserved import WEBHOOK

SIGNATURE_HEADER: Final = "X-Durable-Signature"
"""Holds `t=<unix seconds>,v1=<hex>`: an HMAC-SHA256 of the time, the token and the raw body, joined by line breaks."""

_SIGNATURE: Final = re.compile(r"t=(?P<time>[0-9]{1,15}),v1=(?P<digest>[0-9a-f]{64})")
_TOLERANCE: Final = timedelta(minutes=5)
"""How old a signature may be, and how far the sender's clock may be ahead."""


class CallbackAccepted(BaseModel):
    """The callback is stored, and its run will see it."""

    accepted: bool = True


def webhook_router(module: object, *, prefix: str, max_body: int) -> APIRouter:
    """Return the route of one module; see `DurableModule.webhook_router`."""
    router = APIRouter(prefix=prefix, tags=["durable webhooks"])
    part: RuntimePart[DurableRuntime] = RuntimePart("get_durable_runtime", lambda runtime: runtime, module)

    @router.post(
        "/{token:path}",
        status_code=202,
        operation_id="receiveDurableCallback",
        summary="Receive a callback for a waiting workflow",
        responses={
            400: {"description": "The body cannot be read or stored."},
            401: {"description": "The signature is missing, too old, or for another token or body."},
            404: {"description": "No webhook has this token."},
            410: {"description": "The run has ended without waiting for the callback."},
            413: {"description": "The body is too large."},
            415: {"description": "The body is neither JSON, nor a form, nor text."},
            422: {"description": "The body does not fit the type that the workflow waits for. It still waits."},
            503: {"description": "The database cannot be reached, or is slow; send the callback again later."},
        },
    )
    async def receive_callback(
        token: str, request: Request, runtime: Annotated[DurableRuntime, Depends(part)]
    ) -> CallbackAccepted:
        if not token.startswith(str(WEBHOOK)):
            raise _unknown()
        body = await _limited(request, max_body)
        if runtime.webhook_secret is not None:
            given = request.headers.get(SIGNATURE_HEADER, "")
            _check_signature(runtime.webhook_secret, given, token, body, now=runtime.kernel.clock.now())
        payload = _parsed(request.headers.get("content-type", ""), body)
        try:
            outcome = await runtime.service.callback(token, payload)
        except SerializationError as error:
            if error.misfit:
                raise HTTPException(422, str(error)) from error
            raise HTTPException(400, "the body cannot be stored") from error
        except (StoreUnavailableError, StoreConflictError, TransactionExpiredError) as error:
            raise HTTPException(503, "try again later", headers={"Retry-After": "5"}) from error
        if outcome is Callback.UNKNOWN:
            raise _unknown()
        if outcome is Callback.ENDED:
            raise HTTPException(410, "the run that waited for this callback has ended")
        return CallbackAccepted()

    return router


async def _limited(request: Request, max_body: int) -> bytes:
    """Return the raw body. Reading stops at the limit, whatever length the caller declares."""
    declared = request.headers.get("content-length", "")
    body = bytearray()
    if not (declared.isdigit() and int(declared) > max_body):
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_body:
                break
        else:
            return bytes(body)
    raise HTTPException(413, f"the body of a callback must have at most {max_body} bytes")


def _check_signature(secret: SecretStr, given: str, token: str, body: bytes, *, now: datetime) -> None:
    """Refuse a body without a recent signature of the secret's holder for this token.

    A signature of the body alone could be used again at the address of another webhook, or hours later. A token
    contains no line break, so the signed text can be split in only one way.
    """
    found = _SIGNATURE.fullmatch(given.strip())
    if found is None or "\n" in token:
        raise HTTPException(401, f"the header {SIGNATURE_HEADER} must be t=<unix seconds>,v1=<hex HMAC-SHA256>")
    signed = f"{found['time']}\n{token}\n".encode("utf-8", "surrogatepass") + body
    expected = hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, found["digest"]):
        raise HTTPException(401, f"the header {SIGNATURE_HEADER} does not sign this token and this body")
    if abs(now.timestamp() - int(found["time"])) > _TOLERANCE.total_seconds():
        limit = f"{_TOLERANCE.total_seconds():.0f} seconds"
        raise HTTPException(401, f"the time in {SIGNATURE_HEADER} is more than {limit} from now. Sign again")


def _parsed(content_type: str, body: bytes) -> Json:
    """Return the body as a JSON value: JSON as it is, a form as an object of texts, other text as a text."""
    media = content_type.partition(";")[0].strip().lower()
    try:
        if not body:
            return None
        if media in ("", "application/json") or media.endswith("+json"):
            return json.loads(body, parse_constant=_refuse_constant)
        if media == "application/x-www-form-urlencoded":
            fields: dict[str, Any] = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=1000)
            return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
        if media.startswith("text/"):
            return body.decode()
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not {media or 'application/json'}") from error
    raise HTTPException(415, "send JSON, a form, or text")


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _unknown() -> HTTPException:
    return HTTPException(404, "no webhook has this token")
