"""The interface through which the engine injects dependencies. `fastapi_durable.injection` implements it with
FastAPI."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Injector(Protocol):
    """Supplies the keyword-only parameters of steps and workflows."""

    def check(self, function: Callable[..., Any]) -> None:
        """Refuse a function whose dependencies cannot be resolved outside a request.

        Raises:
            InjectionError: names the parameter and what to do.
        """
        ...

    def provide(self, function: Callable[..., Any]) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Yield the keyword arguments of one call. Leaving the context cleans up in reverse order."""
        ...
