"""Instances that exist once for each application. They are entered when the lifespan starts, and left in reverse order
when it ends."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar, cast, overload

from fastapi_durable.injection.application import AppBound, Application
from fastapi_durable.injection.lifetime import CleanupLimit
from fastapi_durable.injection.plan import name_of
from fastapi_durable.injection.resolver import DependencyResolver, Execution
from fastapi_durable.model.errors import NotStartedError

T = TypeVar("T")
_STATE_KEY = "_fastapi_durable_scope"


class AppScoped(AppBound[T]):
    """A dependency made by `app_scoped`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            if (value := getattr(function, name, None)) is not None:
                setattr(self, name, value)
        # No __wrapped__, because FastAPI would follow it to the generator, and enter that on every request.

    @property
    def function(self) -> Callable[..., Any]:
        """The decorated function."""
        return self._function

    async def value_in(self, app: Application, module: object | None) -> T:  # noqa: ARG002
        return cast(T, await scope_of(app).value_of(self))

    def __repr__(self) -> str:
        return f"app_scoped({self._function!r})"


@overload
def app_scoped(function: Callable[..., AsyncIterator[T]], /) -> AppScoped[T]: ...
@overload
def app_scoped(function: Callable[..., Iterator[T]], /) -> AppScoped[T]: ...
@overload
def app_scoped(function: Callable[..., Awaitable[T]], /) -> AppScoped[T]: ...
@overload
def app_scoped(function: Callable[..., T], /) -> AppScoped[T]: ...
def app_scoped(function: Callable[..., Any], /) -> AppScoped[Any]:
    """Make a dependency whose value lives as long as the application: a client, a pool, a gateway.

    Pass the result to `Depends(...)`, in routes, WebSockets, steps and `inject=`. All of them receive the same value.
    The lifespan enters what the durable module needs when it starts, dependencies before their users. An instance that
    only routes need is entered at its first use. When the lifespan ends, it leaves all of them in reverse order.

    Args:
        function: An async generator, a generator, an `async def` or `def` function, or a class. Its parameters are
            dependencies, none of which may be bound to a request.

    Returns:
        The dependency.
    """
    return AppScoped(function)


class AppScope:
    """The app-scoped instances of one application.

    Attributes:
        cleanup: How long the clean-up of one instance may take.
    """

    def __init__(self, app: Application) -> None:
        self.cleanup: CleanupLimit = CleanupLimit(always=True)
        self._resolver = DependencyResolver(app)
        self._stack = AsyncExitStack()
        self._values: dict[AppScoped[Any], Any] = {}
        self._entering: dict[AppScoped[Any], asyncio.Task[Any]] = {}
        # An instance may be entered during a request but outlives it, so it gets the context of the start.
        self._context = contextvars.copy_context()
        self._closed = False
        self.users = 0

    async def value_of(self, dependency: AppScoped[T]) -> T:
        """Return the instance, which is entered at the first call. Concurrent callers share one entering.

        Raises:
            InjectionError: it needs something that is bound to a request.
        """
        try:
            return cast(T, self._values[dependency])
        except KeyError:
            pass
        if self._closed:
            raise NotStartedError
        task = self._entering.get(dependency)
        if task is None:
            for _ in self._resolver.examine_dependency(dependency.function):
                pass
            task = asyncio.get_running_loop().create_task(
                self._enter(dependency),
                name=f"durable: enter {dependency!r}",
                context=self._context.copy(),
            )
            self._entering[dependency] = task
            task.add_done_callback(lambda done: self._entered(dependency, done))
        # All waiting callers share the entering, so a cancelled caller must not cancel it for the others.
        return cast(T, await asyncio.shield(task))

    async def close(self) -> None:
        """Leave every instance in reverse order."""
        self._closed = True
        for task in list(self._entering.values()):
            task.cancel()
        if self._entering:
            await asyncio.wait(self._entering.values())
        self._values.clear()
        await self._stack.aclose()

    async def _enter(self, dependency: AppScoped[T]) -> T:
        async with AsyncExitStack() as stack:
            try:
                value = await self._resolver.build(dependency.function, Execution(stack, self.cleanup))
            except Exception as error:
                error.add_note(f"while the app-scoped dependency {name_of(dependency.function)!r} was entered")
                raise
            self._stack.push_async_exit(stack.pop_all())
            self._values[dependency] = value
            return cast(T, value)

    def _entered(self, dependency: AppScoped[Any], task: asyncio.Task[Any]) -> None:
        del self._entering[dependency]
        if not task.cancelled():
            task.exception()  # retrieved here too: the waiters may all be gone


@asynccontextmanager
async def entered_scope(app: Application) -> AsyncIterator[AppScope]:
    """Yield the application's scope, which all its modules share. The last module that leaves closes it."""
    scope: AppScope | None = getattr(app.state, _STATE_KEY, None)
    if scope is None:
        scope = AppScope(app)
        setattr(app.state, _STATE_KEY, scope)
    scope.users += 1
    try:
        yield scope
    finally:
        scope.users -= 1
        if scope.users == 0:
            # First, so that a start in the meantime opens a new scope instead of joining one that ends.
            delattr(app.state, _STATE_KEY)
            await scope.close()


def scope_of(app: Application) -> AppScope:
    """Return the scope that a lifespan opened.

    Raises:
        NotStartedError: none did.
    """
    scope: AppScope | None = getattr(app.state, _STATE_KEY, None)
    if scope is None:
        raise NotStartedError
    return scope
