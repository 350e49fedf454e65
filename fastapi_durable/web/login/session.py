"""The session: a signed cookie that says who is signed in and until when.

It is `base64url(JSON) "." base64url(HMAC-SHA256)`, as nestjs-durable writes it. It is signed, not encrypted: it holds a
name, a role, a namespace and two times, and nothing secret. The server stores nothing, so any process with the secret
can read it.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi_durable.model.clock import from_millis, to_millis
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.web.login.user import ConsoleUser
from fastapi_durable.web.namespaces import ALL_NAMESPACES

SHORTEST_SECRET: Final = 32
_LONGEST_COOKIE: Final = 4000
_CLOCKS_DIFFER: Final = timedelta(seconds=30)
"""Another process may have issued the session, on a machine whose clock is a little ahead."""
_PURPOSE: Final = b"fastapi_durable console session"


@dataclass(frozen=True, slots=True)
class Session:
    """A user, and the start and end of the session."""

    user: ConsoleUser
    issued_at: datetime
    expires_at: datetime


class SessionSigner:
    """Writes and reads sessions.

    Args:
        secrets: The first one signs. All of them are accepted, so that a secret can be replaced without ending
            sessions.
        cookie_name: Name of the session's cookie. A session is valid only under this name.

    Raises:
        ConfigurationError: there is no secret, or one is too short to be safe.
    """

    def __init__(self, secrets: Sequence[str], lifetime: timedelta, cookie_name: str) -> None:
        if not secrets or any(len(secret) < SHORTEST_SECRET for secret in secrets):
            raise ConfigurationError(
                f"the secret of ConsoleLogin must have {SHORTEST_SECRET} or more random characters. Make one with "
                "`openssl rand -hex 32`, and keep it out of the code"
            )
        # Derived keys, because the same secret may sign other data elsewhere, or the sessions of another console.
        purpose = b"%s %s" % (_PURPOSE, cookie_name.encode())
        self._keys = [hmac.digest(secret.encode(), purpose, hashlib.sha256) for secret in secrets]
        self._lifetime = lifetime

    def issue(self, user: ConsoleUser, now: datetime) -> str:
        """Return the value of a cookie for this user, valid from now."""
        content = {
            "sub": user.name,
            "roles": [user.role],
            "namespace": None if user.namespace is ALL_NAMESPACES else user.namespace,
            "iat": to_millis(now),
            "exp": to_millis(now + self._lifetime),
        }
        payload = _encoded(json.dumps(content, separators=(",", ":")).encode())
        return f"{payload}.{_encoded(self._signature(self._keys[0], payload))}"

    def read(self, cookie: str | None, now: datetime) -> Session | None:
        """Return the session of a cookie. None if it was not signed here, or is over."""
        if cookie is None or len(cookie) > _LONGEST_COOKIE:
            return None
        payload, dot, signature = cookie.partition(".")
        given = _decoded(signature)
        if not dot or given is None:
            return None
        if not any(hmac.compare_digest(given, self._signature(key, payload)) for key in self._keys):
            return None
        session = _session(payload)
        if session is None or not session.issued_at - _CLOCKS_DIFFER <= now < session.expires_at:
            return None
        return session

    @staticmethod
    def _signature(key: bytes, payload: str) -> bytes:
        return hmac.digest(key, payload.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _session(payload: str) -> Session | None:
    """Read a session that was signed with our key, perhaps by another version of this library."""
    try:
        content: Any = json.loads(_decoded(payload) or b"")
        (role,) = content["roles"]
        namespace = ALL_NAMESPACES if content["namespace"] is None else content["namespace"]
        user = ConsoleUser(name=content["sub"], role=role, namespace=namespace)
        return Session(user, from_millis(int(content["iat"])), from_millis(int(content["exp"])))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
