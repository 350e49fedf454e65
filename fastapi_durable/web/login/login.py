"""`ConsoleLogin`: signs users in, and guards the console's routes."""

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import SecretStr

from fastapi_durable.model.clock import Clock, SystemClock
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.model.text import shown
from fastapi_durable.web.login.credentials import LoginAttempt, read_attempt
from fastapi_durable.web.login.page import HEADERS, login_page
from fastapi_durable.web.login.session import SessionSigner
from fastapi_durable.web.login.throttle import AttemptThrottle
from fastapi_durable.web.login.user import ConsoleRole, ConsoleUser, remember
from fastapi_durable.web.problems import (
    NotPermittedError,
    NotSignedInError,
    ProblemRoute,
    TooManyAttemptsError,
    problem_of,
)
from fastapi_durable.web.same_origin import require_same_origin

_log = logging.getLogger("fastapi_durable")

_REFUSED: Final = "Wrong name or password."
# A view of the dashboard is only a query string, so the browser always stays on the console.
_VIEW: Final = re.compile(r"\?[\w!$&'()*+,;=:@/?.~%-]{0,2000}", re.ASCII)

Secret = SecretStr | str
Revalidate = Callable[[ConsoleUser], ConsoleUser | Awaitable[ConsoleUser | None] | None]


class ConsoleLogin:
    """Login for the console: `durable.router(login=ConsoleLogin(...))`.

    The session is a signed cookie (HttpOnly, SameSite=Lax, Secure). Any process with the secret can read it, and
    nothing is stored. To end every session, replace the secret.

    Args:
        authenticate: Dependency that takes `LoginCredentialsDep` and whatever else it needs. It returns the
            `ConsoleUser`, or None to refuse. Compare in constant time with `credentials.matches`, or with a password
            hash that you also compute for unknown names.
        secret: Key of 32 characters or more. Of several keys, the first one signs and all are accepted.
        lifetime: Length of a session.
        revalidate: Function that is called in the second half of a session with its user. It returns the current user,
            for whom the session is renewed, or None to end the session. A function that raises ends it, too. None: the
            session ends after `lifetime`.
        secure: Whether browsers send the cookie over HTTPS only. Turn it off only for plain HTTP in a development
            network; browsers treat `localhost` as secure.
        cookie_name: Name of the cookie. Use a different one for each console on a host. With `secure`, the browser
            knows it as `__Host-<name>`, so no other host can set it.
        clock: Source of the time. Default: the machine's clock.

    Raises:
        ConfigurationError: the secret is missing or short, or another option is wrong.
    """

    def __init__(
        self,
        *,
        authenticate: Callable[..., Any],
        secret: Secret | Sequence[Secret],
        lifetime: Duration = timedelta(hours=8),
        revalidate: Revalidate | None = None,
        secure: bool = True,
        cookie_name: str = "durable_dashboard_session",
        clock: Clock | None = None,
    ) -> None:
        if not callable(authenticate):
            raise ConfigurationError(
                "authenticate of ConsoleLogin must be a function that takes LoginCredentialsDep, got "
                f"{shown(authenticate)}"
            )
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", cookie_name):
            raise ConfigurationError(
                f"cookie_name of ConsoleLogin must be 1-100 letters, digits, '_' or '-', got {shown(cookie_name)}"
            )
        if cookie_name.lower().startswith(("__host-", "__secure-")):
            raise ConfigurationError(
                f"cookie_name must not begin with __Host- or __Secure-, got {cookie_name!r}. ConsoleLogin itself puts "
                "__Host- in front, if secure=True"
            )
        self._lifetime = parse_duration(lifetime)
        if self._lifetime < timedelta(minutes=1):
            raise ConfigurationError(f"lifetime of ConsoleLogin must be a minute or longer, got {lifetime!r}")
        secrets = [secret] if isinstance(secret, SecretStr | str) else list(secret)
        self._signer = SessionSigner(
            [each.get_secret_value() if isinstance(each, SecretStr) else each for each in secrets],
            self._lifetime,
            cookie_name,
        )
        self._authenticate = authenticate
        self._revalidate = revalidate
        self._secure = secure
        # Browsers accept a cookie of this name only from this host over HTTPS, so another host of the domain cannot
        # plant a session.
        self._cookie_name = f"__Host-{cookie_name}" if secure else cookie_name
        self._clock: Clock = SystemClock() if clock is None else clock
        self._throttle = AttemptThrottle()

    def required(self, role: ConsoleRole) -> Callable[..., Awaitable[None]]:
        """Return a dependency that lets only users of a role pass.

        It raises `NotSignedInError` if no user is signed in, and `NotPermittedError` if the user has another role.

        Args:
            role: `view`, or `operate`.

        Returns:
            The dependency.
        """

        async def require(request: Request, response: Response) -> None:
            user = await self.user_of(request, response)
            if user is None:
                raise NotSignedInError("sign in first: the console's login page is at login, below its prefix")
            if role == "operate" and not user.may_operate:
                raise NotPermittedError("this action needs the role operate, and you are signed in with the role view")
            if role == "operate":
                _log.info("console: %r: %s %r", user.name, request.method, request.scope["path"])
            remember(request, user)

        return require

    async def user_of(self, request: Request, response: Response) -> ConsoleUser | None:
        """Return the user who is signed in. A session in its second half is renewed with the response.

        Only an answer of data carries the new cookie. Pages and streams have responses of their own. Every page of the
        dashboard requests data, and that request renews the session.

        Args:
            request: The request, which may carry a session cookie.
            response: The response that takes the renewed cookie.

        Returns:
            The user. None if no user is signed in.
        """
        now = self._clock.now()
        session = self._signer.read(request.cookies.get(self._cookie_name), now)
        if session is None:
            return None
        if self._revalidate is None or now - session.issued_at <= self._lifetime / 2:
            return session.user
        user = await self._renewed(self._revalidate, session.user)
        if user is not None:
            self._set_cookie(response, user)
        return user

    async def _renewed(self, revalidate: Revalidate, known: ConsoleUser) -> ConsoleUser | None:
        """Return the current user. None also if that is unknown, because then the session is not confirmed."""
        try:
            answer = revalidate(known)
            user: object = await answer if inspect.isawaitable(answer) else answer
        except Exception:
            _log.exception("console: %r is signed out, because revalidate of ConsoleLogin failed", known.name)
            return None
        if user is None or isinstance(user, ConsoleUser):
            return user
        _log.error(
            "console: %r is signed out, because revalidate returned a %s, which is neither a ConsoleUser nor None",
            known.name,
            type(user).__name__,
        )
        return None

    def to_login(self, request: Request) -> Response:
        """Redirect a browser to the login page, and from there back to the view that it wanted.

        Args:
            request: The request for the view.

        Returns:
            The redirect.
        """
        query = request.scope["query_string"].decode("latin-1")
        view = f"?{query}" if query else ""
        target = f"login?next={quote(view, safe='')}" if _VIEW.fullmatch(view) else "login"
        return RedirectResponse(target, status_code=HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})

    def routes(self) -> APIRouter:
        """Return the routes of the login page, of its form, and of the logout."""
        router = APIRouter(include_in_schema=False, route_class=_LoginRoute)

        async def show_login(request: Request, response: Response, next: str = "") -> Response:
            """Show the login form."""
            if await self.user_of(request, response) is not None:
                return _onward(next)
            return login_page(next=next if _VIEW.fullmatch(next) else "")

        async def sign_in(
            request: Request, user: Annotated[ConsoleUser | None, Depends(self._authenticate)]
        ) -> Response:
            """Start a session, from the form or from JSON."""
            attempt: LoginAttempt = request.state.durable_attempt
            if not isinstance(user, ConsoleUser):
                _log.warning("console: an attempt to sign in from %s was refused", _address(request))
                raise _Refused(attempt, HTTPStatus.UNAUTHORIZED, _REFUSED)
            self._throttle.forgive(_address(request), attempt.credentials.username)
            _log.info("console: %r signed in with the role %s", user.name, user.role)
            response = _onward(attempt.next) if attempt.is_form else JSONResponse({"redirect_to": _place(attempt.next)})
            response.headers["Cache-Control"] = "no-store"
            self._set_cookie(response, user)
            return response

        async def sign_out() -> Response:
            """End the session."""
            response = RedirectResponse("login", status_code=HTTPStatus.SEE_OTHER, headers=HEADERS)
            response.delete_cookie(self._cookie_name, path="/", secure=self._secure, httponly=True, samesite="lax")
            return response

        same_origin = Depends(require_same_origin)
        router.get("/login", name="durable_login")(show_login)
        router.post("/login", name="durable_sign_in", dependencies=[same_origin, Depends(self._admit)])(sign_in)
        router.post("/logout", name="durable_sign_out", dependencies=[same_origin])(sign_out)
        return router

    async def _admit(self, request: Request) -> None:
        """Read the attempt and count it, before its password is checked."""
        attempt = await read_attempt(request)
        wait = self._throttle.admit(_address(request), attempt.credentials.username, self._clock.now())
        if wait is not None:
            raise _Refused(
                attempt, HTTPStatus.TOO_MANY_REQUESTS, "Too many attempts. Try again in a minute.", retry_after=wait
            )
        request.state.durable_attempt = attempt

    def _set_cookie(self, response: Response, user: ConsoleUser) -> None:
        response.set_cookie(
            self._cookie_name,
            self._signer.issue(user, self._clock.now()),
            max_age=int(self._lifetime.total_seconds()),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )


class _Refused(Exception):
    """An attempt that fails, with the response: a page for a form, a problem for a program."""

    def __init__(
        self, attempt: LoginAttempt, status: HTTPStatus, notice: str, *, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(notice)
        self.attempt = attempt
        self.status = status
        self.notice = notice
        self.retry_after = retry_after


class _LoginRoute(ProblemRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except _Refused as refused:
                return _refusal(refused)

        return handle


def _refusal(refused: _Refused) -> Response:
    if not refused.attempt.is_form:
        kind = TooManyAttemptsError if refused.retry_after is not None else NotSignedInError
        response = problem_of(kind(refused.notice))
    else:
        view = refused.attempt.next or ""
        response = login_page(
            status=refused.status,
            notice=refused.notice,
            username=refused.attempt.credentials.username,
            next=view if _VIEW.fullmatch(view) else "",
        )
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, int(refused.retry_after.total_seconds())))
    return response


def _onward(view: str | None) -> Response:
    return RedirectResponse(_place(view), status_code=HTTPStatus.SEE_OTHER)


def _place(view: str | None) -> str:
    """Return a path of this console, relative to its login page."""
    return f"./{view}" if view and _VIEW.fullmatch(view) else "./"


def _address(request: Request) -> str:
    return "unknown" if request.client is None else request.client.host
