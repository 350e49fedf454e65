"""The user who is signed in."""

from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from fastapi_durable.web.namespaces import ALL_NAMESPACES, AllNamespaces

ConsoleRole = Literal["view", "operate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleUser:
    """A user of the console.

    Attributes:
        name: Name to show on the pages, at most 200 characters.
        role: "view" sees runs, and "operate" also changes them.
        namespace: Namespace whose runs the user sees, or `ALL_NAMESPACES` for all that the module serves.
    """

    name: str
    role: ConsoleRole = "view"
    namespace: str | AllNamespaces = ALL_NAMESPACES

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 200:
            raise ValueError(f"the name of a ConsoleUser must have 1-200 characters, got {len(self.name)}")
        if self.role not in ("view", "operate"):
            raise ValueError(f'the role of a ConsoleUser must be "view" or "operate", got {self.role!r}')
        # A missing namespace in a directory must not open all namespaces.
        namespace: object = self.namespace
        if not isinstance(namespace, str | AllNamespaces) or namespace == "":
            raise ValueError(
                f"the namespace of a ConsoleUser must be a name or ALL_NAMESPACES, got {self.namespace!r}. Leave it "
                "out for all namespaces"
            )

    @property
    def may_operate(self) -> bool:
        return self.role == "operate"


def signed_in(request: Request) -> ConsoleUser | None:
    """Return the user that the login found before the route. None on a console without a login."""
    user: ConsoleUser | None = getattr(request.state, "durable_user", None)
    return user


def remember(request: Request, user: ConsoleUser) -> None:
    """Note the user for `signed_in` during this request."""
    request.state.durable_user = user
