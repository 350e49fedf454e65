"""The credentials that a user typed into the form, or sent as JSON."""

import json
import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr

_LONGEST: Final = 1000
_MOST_FIELDS: Final = 10


@dataclass(frozen=True, slots=True)
class LoginCredentials:
    """What a user entered, for the `authenticate` function of a `ConsoleLogin`.

    Attributes:
        username: The name.
        password: The password, hidden from logs and tracebacks. `password.get_secret_value()` returns it.
    """

    username: str
    password: SecretStr

    def matches(self, username: str, password: SecretStr | str) -> bool:
        """Return whether the user entered this name and this password. The comparison takes constant time.

        Args:
            username: The expected name.
            password: The expected password.
        """
        wanted = password.get_secret_value() if isinstance(password, SecretStr) else password
        same_name = secrets.compare_digest(self.username.encode(), username.encode())
        same_password = secrets.compare_digest(self.password.get_secret_value().encode(), wanted.encode())
        return same_name and same_password


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """Credentials, the view to open after them, and whether a page or a program sent them."""

    credentials: LoginCredentials
    next: str | None
    is_form: bool


async def read_attempt(request: Request) -> LoginAttempt:
    """Read the body, whose size the route limits.

    Raises:
        RequestValidationError: it does not hold a username and a password.
    """
    is_form = request.headers.get("content-type", "").partition(";")[0].strip() == "application/x-www-form-urlencoded"
    body = await request.body()
    fields = _form(body) if is_form else _json(body)
    username, password, following = (fields.get(name) for name in ("username", "password", "next"))
    for name, value in (("username", username), ("password", password)):
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not _is_text(value):
            raise _refused(name, f"a text of 1 to {_LONGEST} characters")
    return LoginAttempt(
        LoginCredentials(str(username), SecretStr(str(password))),
        following if isinstance(following, str) else None,
        is_form,
    )


def given_credentials(request: Request) -> LoginCredentials:
    """Return the credentials that the route read before it calls `authenticate`."""
    attempt: LoginAttempt = request.state.durable_attempt
    return attempt.credentials


LoginCredentialsDep = Annotated[LoginCredentials, Depends(given_credentials)]


def _is_text(value: str) -> bool:
    """Return whether a text can be encoded. JSON can spell half a surrogate pair, which cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _form(body: bytes) -> dict[str, Any]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise _refused("body", "not a form") from error


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _refused("body", "not JSON") from error
    return content if isinstance(content, dict) else {}


def _refused(name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", name), "msg": message, "type": "value_error", "input": None}])
