"""FastAPI's dependency injection without a request: for steps, workflows and the options factory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from fastapi_durable.injection.application import AppBound, Application, overrides_of
from fastapi_durable.injection.lifetime import CleanupLimit, Held
from fastapi_durable.injection.plan import Kind, Limit, Plan, Refusal, name_of, plan_of_dependency, plan_of_step
from fastapi_durable.model.errors import InjectionError
from fastapi_durable.transport.threads import Called, Threads

Trail = tuple[tuple[Callable[..., Any], str, str], ...]
"""How a dependency was reached: each function on the way, its label, and its parameter that leads on."""


@dataclass(slots=True)
class Execution:
    """The shared state of one step, or of one build of the options: the values so far, and their clean-ups."""

    stack: AsyncExitStack
    cleanup: CleanupLimit
    cache: dict[Callable[..., Any], Any] = field(default_factory=dict)


class DependencyResolver:
    """Supplies dependencies outside a request, as the engine's `Injector`.

    Functions, coroutine functions, generators, async generators, classes and callable objects work, nested to any
    depth. A dependency is called once per execution, unless it has `use_cache=False`. Sync dependencies run in a
    worker thread. The application's `dependency_overrides` apply as they are at the time of the call.

    Args:
        app: The application whose overrides and app-scoped instances are used.
        module: The module that `StateStoreDep` and similar dependencies mean.
        cleanup: How long the clean-up of a step's dependencies may take once a cancellation waits for it.
        threads: Threads in which `def` dependencies are called. By default, no caller waits for a thread that was
            given up.
    """

    def __init__(
        self,
        app: Application,
        *,
        module: object | None = None,
        cleanup: CleanupLimit | None = None,
        threads: Threads | None = None,
    ) -> None:
        self._app = app
        self._module = module
        self._cleanup = cleanup or CleanupLimit()
        self._threads = threads or Threads(timedelta(0))
        self._steps: WeakKeyDictionary[Callable[..., Any], Plan] = WeakKeyDictionary()
        self._dependencies: WeakKeyDictionary[Callable[..., Any], Plan] = WeakKeyDictionary()
        self._checked: WeakSet[Callable[..., Any]] = WeakSet()

    def check(self, function: Callable[..., Any]) -> None:
        """Refuse a step or workflow whose dependencies cannot be resolved outside a request.

        Raises:
            InjectionError: names the parameter, the function it belongs to, and what to do.
        """
        overridden = bool(overrides_of(self._app))
        key = _cache_key(function)
        if not overridden and key in self._checked:
            return
        for _ in self.app_bound_in(function):
            pass
        if not overridden:
            _remember(self._checked.add, key)

    def provide(self, function: Callable[..., Any]) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Yield the keyword arguments of one call of a step or workflow. Leaving the context cleans up in reverse
        order.

        An exception that leaves the block is thrown into the generators, which can act on it but not swallow it.

        Raises:
            InjectionError: a dependency cannot be resolved outside a request.
        """
        plan = self._plan_of_step(function)
        if not plan.dependencies and plan.refusal is None:
            return nullcontext({})
        return self._provide(function, plan)

    def app_bound_in(self, function: Callable[..., Any]) -> Iterator[AppBound[Any]]:
        """Return the application's values that a step or workflow needs, dependencies before their users.

        Raises:
            InjectionError: as `check`.
        """
        return self._examine(function, self._plan_of_step(function), ())

    def examine_dependency(self, function: Callable[..., Any]) -> Iterator[AppBound[Any]]:
        """The same for a dependency, override included."""
        return self._visit(function, ())

    async def arguments(self, function: Callable[..., Any], execution: Execution) -> dict[str, Any]:
        """Return all parameters of a factory, as dependencies."""
        return await self._arguments(function, self._plan_of_dependency(function), execution, ())

    async def value(
        self, function: Callable[..., Any], execution: Execution, trail: Trail = (), limit: Limit | None = None
    ) -> Any:
        """Return the value of a dependency, or of its override."""
        call = overrides_of(self._app).get(function, function)
        if isinstance(call, AppBound):
            return await call.value_in(self._app, self._module)
        return await self.build(call, execution, trail, limit)

    async def build(
        self, function: Callable[..., Any], execution: Execution, trail: Trail = (), limit: Limit | None = None
    ) -> Any:
        """Call a function with its dependencies. If it has a context, the stack of the execution leaves it."""
        plan = self._plan_of_dependency(function)
        arguments = await self._arguments(function, plan, execution, trail)
        if plan.kind in (Kind.COROUTINE, Kind.SYNC):
            async with limit.get_semaphore() if limit is not None else nullcontext():
                if plan.kind is Kind.COROUTINE:
                    return await function(**arguments)
                called = Called(name=f"dependency {name_of(function)!r}")
                return await self._threads.call(partial(function, **arguments), called)
        if limit is not None:
            await execution.stack.enter_async_context(limit.get_semaphore())
        manager: AbstractAsyncContextManager[Any]
        if plan.kind is Kind.ASYNC_GENERATOR:
            manager = asynccontextmanager(function)(**arguments)
        else:
            manager = _in_threads(contextmanager(function)(**arguments), self._threads, name_of(function))
        held = Held(manager, name=name_of(function), cleanup=execution.cleanup)
        return await execution.stack.enter_async_context(held)

    @asynccontextmanager
    async def _provide(self, function: Callable[..., Any], plan: Plan) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            yield await self._arguments(function, plan, Execution(stack, self._cleanup), ())

    async def _arguments(
        self, function: Callable[..., Any], plan: Plan, execution: Execution, trail: Trail
    ) -> dict[str, Any]:
        if plan.refusal is not None:
            raise _refused(plan, plan.refusal, trail)
        arguments: dict[str, Any] = {}
        cache = execution.cache
        for dependency in plan.dependencies:
            call = dependency.call
            if dependency.use_cache and call in cache:
                value = cache[call]
            else:
                further = _extended(trail, function, plan.label, dependency.parameter)
                value = await self.value(call, execution, further, dependency.limit)
                cache.setdefault(call, value)
            arguments[dependency.parameter] = value
        return arguments

    def _visit(self, function: Callable[..., Any], trail: Trail) -> Iterator[AppBound[Any]]:
        call = overrides_of(self._app).get(function, function)
        if not isinstance(call, AppBound):
            yield from self._examine(call, self._plan_of_dependency(call), trail)
            return
        if call.function is not None:
            yield from self._examine(call.function, self._plan_of_dependency(call.function), trail)
        yield call

    def _examine(self, function: Callable[..., Any], plan: Plan, trail: Trail) -> Iterator[AppBound[Any]]:
        if plan.refusal is not None:
            raise _refused(plan, plan.refusal, trail)
        for dependency in plan.dependencies:
            yield from self._visit(dependency.call, _extended(trail, function, plan.label, dependency.parameter))

    def _plan_of_step(self, function: Callable[..., Any]) -> Plan:
        return _planned(self._steps, function, plan_of_step)

    def _plan_of_dependency(self, function: Callable[..., Any]) -> Plan:
        return _planned(self._dependencies, function, plan_of_dependency)


@asynccontextmanager
async def _in_threads(manager: AbstractContextManager[Any], threads: Threads, name: str) -> AsyncIterator[Any]:
    """Enter and leave a context in threads. Leaving does not wait for a place, because other calls may keep theirs
    until then.
    """
    called = Called(name=f"dependency {name!r}")

    async def leave(error: BaseException | None) -> bool | None:
        return await threads.call(
            lambda: manager.__exit__(
                None if error is None else type(error), error, None if error is None else error.__traceback__
            ),
            called,
            limited=False,
        )

    late: list[Any] = []
    try:
        value = await threads.call(manager.__enter__, called, late=late.append)
    except asyncio.CancelledError as error:
        if late:
            await leave(error)
        raise
    try:
        yield value
    except BaseException as error:
        if not await leave(error):
            raise
    else:
        await leave(None)


def _planned(
    plans: WeakKeyDictionary[Callable[..., Any], Plan],
    function: Callable[..., Any],
    read: Callable[[Callable[..., Any]], Plan],
) -> Plan:
    """Return the plan of a function, which is read once.

    Weak keys, because a workflow may define its steps inside its body: new ones on every turn.
    """
    key = _cache_key(function)
    try:
        return plans[key]
    except (KeyError, TypeError):
        plan = read(function)
    _remember(lambda key: plans.__setitem__(key, plan), key)
    return plan


def _cache_key(function: Callable[..., Any]) -> Callable[..., Any]:
    """Every access creates a new bound method, but its function stays the same."""
    key: Callable[..., Any] = getattr(function, "__func__", function)
    return key


def _remember(store: Callable[[Callable[..., Any]], None], key: Callable[..., Any]) -> None:
    try:
        store(key)
    except TypeError:
        # The object is neither hashable nor weakly referenceable, for example because of __slots__. Read it again next
        # time.
        pass


def _extended(trail: Trail, function: Callable[..., Any], label: str, parameter: str) -> Trail:
    if any(function is passed for passed, _, _ in trail):
        way = " -> ".join(passed for _, passed, _ in (*trail, (function, label, "")))
        raise InjectionError(f"dependencies must not form a cycle, got {way}")
    return (*trail, (function, label, parameter))


def _refused(plan: Plan, refusal: Refusal, trail: Trail) -> InjectionError:
    needed = ""
    root = plan.label
    if trail:
        root = trail[0][1]
        way = " -> ".join(f"{parameter!r}" for _, _, parameter in trail)
        needed = f" (which {root} needs through its parameter {way})"
    advice = ""
    if refusal.request_bound and root.startswith("dependency"):
        advice = ". Outside a request there is none, and this value is made once, for all requests"
    elif refusal.request_bound:
        advice = (
            ". Outside a request there is none, and a step may run in another process, after a restart: pass what it "
            "needs from the request as its input"
        )
    return InjectionError(f"parameter {refusal.parameter!r} of {plan.label}{needed} {refusal.reason}{advice}")
