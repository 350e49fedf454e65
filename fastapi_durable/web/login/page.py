"""The login page: a form that needs no script."""

from html import escape
from http import HTTPStatus
from typing import Final

from fastapi import Response

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Sign in &middot; Durable runs</title>
  <link rel="icon" href="assets/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="assets/style.css">
  <link rel="stylesheet" href="assets/login.css">
</head>
<body>
  <main class="login">
    <form class="card" method="post" action="login">
      <h1><img src="assets/icon.svg" alt="" width="22" height="22"> Durable</h1>
      {notice}
      <label>Name
        <input name="username" value="{username}" autocomplete="username" maxlength="1000" required autofocus></label>
      <label>Password
        <input name="password" type="password" autocomplete="current-password" maxlength="1000" required></label>
      <input type="hidden" name="next" value="{next}">
      <button class="primary">Sign in</button>
    </form>
  </main>
</body>
</html>
"""


def login_page(
    *, status: HTTPStatus = HTTPStatus.OK, notice: str | None = None, username: str = "", next: str = ""
) -> Response:
    """Return the login page.

    Args:
        notice: Why the last attempt did not succeed.
        next: The dashboard's view to open afterwards: a query string, or empty.
    """
    told = "" if notice is None else f'<p class="login-notice" role="alert">{escape(notice)}</p>'
    text = _PAGE.format(notice=told, username=escape(username), next=escape(next))
    content = text.encode("utf-8", "replace")
    return Response(content, status_code=status, media_type="text/html; charset=utf-8", headers=HEADERS)
