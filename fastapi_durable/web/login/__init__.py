"""The console's own login, for applications that have none: a form, a signed cookie, two roles."""

from fastapi_durable.web.login.credentials import LoginCredentials, LoginCredentialsDep
from fastapi_durable.web.login.login import ConsoleLogin
from fastapi_durable.web.login.user import ConsoleUser

__all__ = ["ConsoleLogin", "ConsoleUser", "LoginCredentials", "LoginCredentialsDep"]
