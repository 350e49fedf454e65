"""Who is signed in."""

from dataclasses import dataclass
from typing import Literal

from fastapi import Request

ConsoleRole = Literal["view", "operate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleUser:
    """Somebody who may use the console.

    Attributes:
        name: Shown on the pages; at most 200 characters.
        role: "view" sees runs, "operate" also changes them.
        namespace: The only one whose runs the user sees; None: all that the module serves.
    """

    name: str
    role: ConsoleRole = "view"
    namespace: str | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 200:
            raise ValueError("the name of a ConsoleUser has 1 to 200 characters")
        if self.role not in ("view", "operate"):
            raise ValueError(f'the role of a ConsoleUser is "view" or "operate", not {self.role!r}')
        if self.namespace == "":
            raise ValueError("the namespace of a ConsoleUser is None for all of them, and never empty")

    @property
    def may_operate(self) -> bool:
        return self.role == "operate"


def signed_in(request: Request) -> ConsoleUser | None:
    """Whom the login found out before the route; None on a console without one."""
    user: ConsoleUser | None = getattr(request.state, "durable_user", None)
    return user


def remember(request: Request, user: ConsoleUser) -> None:
    """For `signed_in`, during this request."""
    request.state.durable_user = user
