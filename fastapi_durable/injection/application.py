"""Dependencies whose value belongs to the application, not to a request or a step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from starlette.datastructures import State
from starlette.requests import HTTPConnection

T = TypeVar("T")


class Application(Protocol):
    """The part of an application that the library needs: a place for its state. FastAPI's also has
    `dependency_overrides`.
    """

    state: State


def overrides_of(app: Application) -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """Return the application's current `dependency_overrides`."""
    found: Mapping[Callable[..., Any], Callable[..., Any]] = getattr(app, "dependency_overrides", {})
    return found


class AppBound(ABC, Generic[T]):
    """A dependency that FastAPI calls with the connection, and the resolver without one. Both get the same value."""

    __name__: str

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function that builds the value, if it has dependencies of its own."""
        return None

    @abstractmethod
    async def value_in(self, app: Application, module: object | None) -> T:
        """Return the value in this application, as the given module sees it. None: as a route sees it.

        Raises:
            NotStartedError: the lifespan has not run in this application.
        """

    async def __call__(self, connection: HTTPConnection) -> T:
        return await self.value_in(connection.app, None)
