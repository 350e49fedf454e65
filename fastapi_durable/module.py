"""The composition root: builds every part from the options, starts it with the application, and ends it in order."""

import inspect
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Literal, Self

from fastapi import APIRouter, params
from starlette.applications import Starlette

from fastapi_durable.app.options import DurableOptions, described
from fastapi_durable.app.runtime import (
    DurableHealth,
    DurableRuntime,
    Entry,
    RuntimePart,
    StandaloneApplication,
    entries_of,
    runtime_of,
)
from fastapi_durable.app.settings import Role, misspelt_variables
from fastapi_durable.app.starting import answered, within_lease
from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import (
    StepDefinition,
    WorkflowDefinition,
    default_name,
    step_definitions,
    workflow_definition,
)
from fastapi_durable.declare.entity import entity_definition
from fastapi_durable.declare.methods import step_methods
from fastapi_durable.engine.context.body_check import unsafe_calls
from fastapi_durable.engine.context.references import AnyWorkflow
from fastapi_durable.engine.core.registry import StepRegistry, WorkflowRegistry
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.worker import Worker
from fastapi_durable.injection import Application, AppScoped, DependencyResolver
from fastapi_durable.injection.application_scope import AppScope, entered_scope
from fastapi_durable.injection.lifetime import CleanupLimit, Held
from fastapi_durable.injection.resolver import Execution
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.observe.opentelemetry import metered
from fastapi_durable.observe.prometheus import ProcessMetrics
from fastapi_durable.service.facade import RunGateway, WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.transport.threads import Threads
from fastapi_durable.web.login import ConsoleLogin
from fastapi_durable.web.problems import add_problem_handler
from fastapi_durable.web.scope import TenantDependency
from fastapi_durable.web.webhooks import webhook_router

_log = logging.getLogger("fastapi_durable")

OptionsFactory = Callable[..., DurableOptions | Awaitable[DurableOptions]]


class DurableModule:
    """Durable workflows for one or more applications. `for_root` and `for_root_async` create a module.

    A module holds declarations only. The running parts belong to the application whose lifespan is open. So one module
    can serve several applications that do not affect each other.

    Attributes:
        state_store: Dependency for `Depends(...)`: the store of this module. With one module in an application,
            `StateStoreDep` is enough.
        workflow_service: Dependency: the service of this module, as `WorkflowServiceDep`.
        workflow_engine: Dependency: the same service, as `WorkflowEngineDep`.
        run_gateway: Dependency: the gateway of this module, as `RunGatewayDep`.
    """

    def __init__(
        self,
        *,
        use_factory: OptionsFactory,
        inject: Sequence[Callable[..., Any]] | None,
        workflows: Sequence[AnyWorkflow],
        steps: Sequence[Callable[..., Any]],
        entities: Sequence[type] = (),
    ) -> None:
        self._use_factory = use_factory
        self._inject = inject
        self._entities = tuple(entities)
        for each in self._entities:
            entity_definition(each)
        self._workflows: tuple[WorkflowDefinition, ...] = tuple(workflow_definition(each) for each in workflows)
        self._steps: tuple[StepDefinition, ...] = tuple(found for each in steps for found in step_definitions(each))
        WorkflowRegistry(self._workflows)  # refuses two of one name and version while the mistake is still near
        StepRegistry(self._steps)
        self.state_store: RuntimePart[StateStore] = RuntimePart("state_store", lambda runtime: runtime.store, self)
        self.workflow_service: RuntimePart[WorkflowService] = RuntimePart(
            "workflow_service", lambda runtime: runtime.service, self
        )
        self.workflow_engine: RuntimePart[WorkflowService] = RuntimePart(
            "workflow_engine", lambda runtime: runtime.service, self
        )
        self.run_gateway: RuntimePart[RunGateway] = RuntimePart("run_gateway", lambda runtime: runtime.service, self)

    @classmethod
    def for_root(
        cls,
        options: DurableOptions,
        *,
        workflows: Sequence[AnyWorkflow] = (),
        steps: Sequence[Callable[..., Any]] = (),
        entities: Sequence[type] = (),
    ) -> Self:
        """Return a module with options that exist already.

        Args:
            options: Options of the module.
            workflows: Functions and classes decorated with `@workflow` that this application drives.
            steps: Steps that workflows call by name and `DurableTasks` adds. The start checks their dependencies. Of a
                class, all its `@step` methods: by name, and as `ctx.step(Class.method, ...)`.
            entities: Classes decorated with `@entity` whose operations this application executes.

        Returns:
            The module.

        Raises:
            ConfigurationError: `options` is not a `DurableOptions`.
            DefinitionError: a workflow or step is declared in a way that cannot work.
        """
        _checked_options(options, "the argument of for_root")
        return cls(use_factory=lambda: options, inject=(), workflows=workflows, steps=steps, entities=entities)

    @classmethod
    def for_root_async(
        cls,
        *,
        use_factory: OptionsFactory,
        inject: Sequence[Callable[..., Any]] | None = None,
        workflows: Sequence[AnyWorkflow] = (),
        steps: Sequence[Callable[..., Any]] = (),
        entities: Sequence[type] = (),
    ) -> Self:
        """Return a module whose options are built when the lifespan starts.

        Args:
            use_factory: Function that returns the options: `def`, `async def` or a lambda. With `inject`, it receives
                the values in that order. Without, its own parameters are dependencies (`Annotated[T, Depends(f)]`).
            inject: Dependency functions, usually `app_scoped` ones. Their values live as long as the application.
            workflows: Functions and classes decorated with `@workflow` that this application drives.
            steps: Steps that workflows call by name and `DurableTasks` adds. The start checks their dependencies. Of a
                class, all its `@step` methods: by name, and as `ctx.step(Class.method, ...)`.
            entities: Classes decorated with `@entity` whose operations this application executes.

        Returns:
            The module.

        Raises:
            ConfigurationError: the factory does not accept what `inject` lists.
            DefinitionError: a workflow or step is declared in a way that cannot work.
        """
        _check_factory(use_factory, inject)
        return cls(use_factory=use_factory, inject=inject, workflows=workflows, steps=steps, entities=entities)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Run the module while the application runs: `FastAPI(lifespan=durable.lifespan)`.

        Inside a lifespan of your own, write `async with durable.lifespan(app): yield`. Entering it twice is harmless.
        The start enters the app-scoped dependencies, builds the options, checks the store, and starts the worker unless
        the role is `api`. The end undoes all of it in reverse order, within `shutdown_timeout` for each part, even if
        the lifespan is cancelled. A start that fails undoes what it had entered before it raises.

        Args:
            app: The application.

        Yields:
            Nothing.

        Raises:
            ConfigurationError: the options are wrong, or the factory returned something else.
            InjectionError: a dependency of a workflow, a step or the factory needs a request.
            SchemaMismatchError: the Prisma client or the tables lack something. The message names the command to run.
            StoreUnavailableError: the database cannot be reached.
        """
        async with self._opened(app, role=None):
            yield

    @asynccontextmanager
    async def running(
        self,
        *,
        role: Role | Literal["api", "worker", "all"] | None = None,
        dependency_overrides: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
        app: Application | None = None,
    ) -> AsyncIterator[DurableRuntime]:
        """Run the module without a server: in a worker process, a script or a test.

        Args:
            role: Role of the process, whatever options and environment say.
            dependency_overrides: Overrides, as in `app.dependency_overrides`.
            app: Application to run in. Its own overrides then apply.

        Yields:
            The running module.

        Raises:
            ConfigurationError: as `lifespan`.
            SchemaMismatchError: as `lifespan`.
            StoreUnavailableError: as `lifespan`.
        """
        place = StandaloneApplication(dict(dependency_overrides or {})) if app is None else app
        async with self._opened(place, role=None if role is None else Role(role)) as runtime:
            yield runtime

    def webhook_router(self, *, prefix: str = "/webhooks", max_body: int = 1_000_000) -> APIRouter:
        """Return the public route for callbacks: `app.include_router(durable.webhook_router())`.

        Third parties call this route, so put no authentication before it. It accepts only tokens of webhooks. The
        option `webhook_url` must lead here. With `webhook_secret`, it accepts only signed callbacks.

        Args:
            prefix: Path below which the route is mounted.
            max_body: Largest body in bytes.

        Returns:
            A router.
        """
        return webhook_router(self, prefix=prefix, max_body=max_body)

    def router(
        self,
        *,
        dependencies: Sequence[params.Depends] = (),
        view: Sequence[params.Depends] = (),
        operate: Sequence[params.Depends] = (),
        tenant: TenantDependency | None = None,
        login: ConsoleLogin | None = None,
        allow_unauthenticated: bool = False,
        hosts: Sequence[str] = (),
        dashboard: bool = True,
        include_in_schema: bool = True,
    ) -> APIRouter:
        """Return the console: `app.include_router(durable.router(dependencies=[Depends(login)]), prefix="/durable")`.

        The dashboard is at the prefix, and its HTTP API at `api/` below it. The router has no lifespan.

        Args:
            dependencies: Dependencies of every route: the application's own authentication.
            view: Further dependencies of the routes that only read, the dashboard included.
            operate: Further dependencies of the routes that change runs.
            tenant: Dependency that returns the namespace the caller is confined to, or `ALL_NAMESPACES`. Any other
                value is refused (403), None included.
            login: Login of the console itself, for applications that have none.
            allow_unauthenticated: Whether to mount the changing routes although nothing guards them.
            hosts: Host names that may call unguarded routes, besides `localhost` and loopback addresses.
            dashboard: Whether to serve the pages. False: the API only.
            include_in_schema: Whether the API is in the application's OpenAPI document. The inputs of the workflows of
                a guarded console are not: `GET api/workflows` lists them.

        Returns:
            A router.
        """
        # Created on first use: building its models takes a large part of the library's import time.
        from fastapi_durable.web.router import console_router

        return console_router(
            self,
            workflows=self._workflows,
            entities=[entity_definition(each) for each in self._entities],
            dependencies=dependencies,
            view=view,
            operate=operate,
            tenant=tenant,
            login=login,
            allow_unauthenticated=allow_unauthenticated,
            hosts=hosts,
            dashboard=dashboard,
            include_in_schema=include_in_schema,
        )

    def stream_router(
        self,
        name: str,
        *,
        prefix: str = "",
        dependencies: Sequence[params.Depends] = (),
        allow_unauthenticated: bool = False,
        heartbeat: Duration = "15s",
        lifetime: Duration = "5 min",
        max_readers: int = 1000,
    ) -> APIRouter:
        """Return a route that streams the items of runs to browsers.

        Include `durable.stream_router("tokens", prefix="/answers", dependencies=[Depends(may_read)])`, and `GET
        /answers/{run_id}/tokens` sends the items and the run's status as server-sent events. A reader that connects
        again continues after `Last-Event-ID`, or after `?after=`. The response ends with the stream.

        Args:
            name: Name of the stream: letters, digits, `.`, `_` and `-`.
            prefix: Path below which the route is mounted.
            dependencies: Dependencies that decide who may read. A parameter `run_id: str` receives the run's id. Raise
                `HTTPException` to refuse.
            allow_unauthenticated: Whether everyone who knows a run's id may read its stream.
            heartbeat: Silence after which the route sends a comment, so that no proxy cuts the connection.
            lifetime: Time after which a response ends; the browser connects again. A server other than uvicorn waits
                for it when it stops.
            max_readers: Maximum number of open responses. The route refuses more with 503.

        Returns:
            A router.

        Raises:
            ConfigurationError: the name does not fit a path, or no dependency decides who may read.
        """
        # As for the console.
        from fastapi_durable.web.run_stream import run_stream_router

        return run_stream_router(
            self,
            name,
            prefix=prefix,
            dependencies=dependencies,
            allow_unauthenticated=allow_unauthenticated,
            heartbeat=parse_duration(heartbeat).total_seconds(),
            lifetime=parse_duration(lifetime).total_seconds(),
            max_readers=max_readers,
        )

    def add_exception_handlers(self, app: Starlette) -> None:
        """Answer the library's errors in the application's own routes with problem documents (RFC 9457).

        404 for a missing run, 409 for conflicts, 422 for bad input, 429 for a full singleton, 503 with `Retry-After`
        while the database or the module is not available, and 504 for a result that is late. The application's own
        handler for a class of errors takes precedence. Mistakes in the code and failures of runs stay a 500 without
        details. Errors in a WebSocket stay as they are.

        Args:
            app: The application.
        """
        add_problem_handler(app)

    def runtime(self, app: Application) -> DurableRuntime:
        """Return what runs in an application, for code into which FastAPI does not inject.

        Args:
            app: The application.

        Returns:
            The running module.

        Raises:
            NotStartedError: the lifespan has not run in this application.
        """
        return runtime_of(app, self)

    async def health(self, app: Application, *, timeout: timedelta = timedelta(seconds=2)) -> DurableHealth:
        """Return the state of the module in an application. It does not raise when the database is down.

        Args:
            app: The application.
            timeout: Time within which the store must answer.

        Returns:
            Whether the module is alive and ready, and why not.

        Raises:
            NotStartedError: the lifespan has not run in this application.
        """
        return await runtime_of(app, self).health(timeout=timeout)

    @asynccontextmanager
    async def _opened(self, app: Application, *, role: Role | None) -> AsyncIterator[DurableRuntime]:
        """Count openings: the first one starts, the last one stops."""
        entries = entries_of(app)
        entry = entries.get(self)
        if entry is None:
            entry = entries[self] = Entry()
            cleanup = CleanupLimit(always=True)
            entry.held = Held(self._started(app, entry, role, cleanup), name="the durable module", cleanup=cleanup)
            entry.users = 1
            try:
                await entry.held.__aenter__()
            except BaseException:
                del entries[self]
                raise
            finally:
                entry.settled.set()
        else:
            entry.users += 1
            try:
                await entry.settled.wait()
            except BaseException:
                entry.users -= 1
                raise
        runtime = runtime_of(app, self)
        try:
            yield runtime
        except BaseException as error:
            await self._closed(entries, entry, error)
            raise
        else:
            await self._closed(entries, entry, None)

    async def _closed(self, entries: dict[object, Entry], entry: Entry, error: BaseException | None) -> None:
        entry.users -= 1
        if entry.users == 0 and entry.held is not None:
            try:
                await entry.held.__aexit__(None if error is None else type(error), error, None)
            finally:
                if entries.get(self) is entry:
                    del entries[self]

    @asynccontextmanager
    async def _started(
        self, app: Application, entry: Entry, role: Role | None, cleanup: CleanupLimit
    ) -> AsyncIterator[DurableRuntime]:
        """Start every part in order; leaving undoes it in reverse."""
        async with entered_scope(app) as scope, AsyncExitStack() as stack:
            threads = Threads()
            resolver = DependencyResolver(app, module=self, threads=threads)
            options = within_lease((await self._options(resolver, Execution(stack, scope.cleanup))).of_one_start(role))
            threads.grace = options.thread_grace
            stack.callback(threads.give_up)
            scope.cleanup.seconds = max(1.0, options.shutdown_timeout.total_seconds())
            # The worker's own limit comes first, then that of each instance.
            cleanup.seconds = 5 + 3 * options.shutdown_timeout.total_seconds()
            await self._enter_app_scoped(resolver, scope)
            await answered(options, options.store.ensure_schema)
            engine = Engine(
                store=options.store,
                workflows=self._workflows,
                entities=self._entities,
                injector=resolver,
                transport=options.transport,
                config=options,
                clock=options.clock,
                codec=Codec(),
                steps=self._steps,
                interceptors=options.interceptors,
                schedules=options.schedules,
                queues=options.queues,
                retention=options.retention,
                dead_letter=options.dead_letter_workflow,
                threads=threads,
            )
            worker = Worker(engine) if options.role.drives else None
            runtime = DurableRuntime(
                role=options.role,
                store=_store_of_routes(options),
                service=WorkflowService(engine.kernel),
                kernel=engine.kernel,
                schedules=engine.scheduler,
                worker=worker,
                metrics=ProcessMetrics(engine.kernel.events),
                webhook_secret=options.webhook_secret,
            )
            # Before the worker starts: a step may ask for the service at once.
            entry.runtime = runtime
            stack.callback(setattr, entry, "runtime", None)
            stack.enter_context(metered(engine.kernel))
            if options.wakeups is not None:
                # Outlives the worker, which hands runs back when it stops: the others shall learn of it.
                tell = await stack.enter_async_context(options.wakeups.joined(engine.notifications.on_message))
                stack.enter_context(engine.notifications.joined_to(tell))
            if worker is not None:
                await answered(options, engine.declare_queues)
                await worker.start()
                stack.push_async_callback(worker.stop, options.shutdown_timeout)
            _announce(runtime, options)
            _warn_of_unsafe_bodies(self._workflows)
            yield runtime

    async def _options(self, resolver: DependencyResolver, execution: Execution) -> DurableOptions:
        factory = self._use_factory
        if self._inject is None:
            result = factory(**await resolver.arguments(factory, execution))
        else:
            for function in self._inject:
                for _ in resolver.examine_dependency(function):
                    pass
            result = factory(*[await resolver.value(function, execution) for function in self._inject])
        if inspect.isawaitable(result):
            result = await result
        _checked_options(result, "the result of use_factory")
        return result

    async def _enter_app_scoped(self, resolver: DependencyResolver, scope: AppScope) -> None:
        """Enter what workflows and steps need, so that it fails now rather than in the middle of a run."""
        owners = [each.owner for each in self._workflows if each.owner is not None]
        methods: list[Callable[..., Any]] = [method for owner in owners for method in step_methods(owner)]
        functions = [*(each.function for each in self._workflows), *(each.function for each in self._steps)]
        operations = [op.function for each in self._entities for op in entity_definition(each).operations.values()]
        for function in (*functions, *methods, *operations):
            for dependency in resolver.app_bound_in(function):
                if isinstance(dependency, AppScoped):
                    await scope.value_of(dependency)


def _store_of_routes(options: DurableOptions) -> StateStore:
    """The store for routes and steps. The engine and the gateway know the namespace themselves."""
    namespace = options.namespace
    return options.store.with_scope(namespace) if options.scope_reads and namespace is not None else options.store


def _announce(runtime: DurableRuntime, options: DurableOptions) -> None:
    _log.info(
        "started with role %s on %s, namespace %s, instance %s",
        runtime.role,
        type(runtime.store).__name__,
        options.namespace or "any",
        options.instance_id,
    )
    for name, meant in misspelt_variables(os.environ):
        _log.warning("the environment variable %s is not a setting of fastapi_durable. Did you mean %s?", name, meant)
    if isinstance(runtime.store, MemoryStateStore):
        _log.warning("runs are kept in memory and end with the process. Give DurableOptions a PrismaStateStore")


def _warn_of_unsafe_bodies(workflows: Sequence[WorkflowDefinition]) -> None:
    for definition in workflows:
        for found in unsafe_calls(definition.function):
            _log.warning("the body of workflow %r makes an unsafe call: %s", definition.name, found)


def _check_factory(factory: Any, inject: Sequence[Any] | None) -> None:
    if not callable(factory):
        raise ConfigurationError(
            f"use_factory must be a function that returns DurableOptions, got {described(factory)}. Pass ready "
            "options to DurableModule.for_root"
        )
    if inject is None:
        return
    for each in inject:
        if not callable(each) or hasattr(each, "__metadata__"):
            raise ConfigurationError(
                f"inject must list dependency functions, such as get_prisma, got {each!r}. Of an `Annotated` alias "
                "or a `Depends(...)`, pass the function inside"
            )
    try:
        inspect.signature(factory).bind(*inject)
    except TypeError as error:
        names = ", ".join(default_name(each) for each in inject) or "nothing"
        raise ConfigurationError(
            f"use_factory must take one positional argument for each dependency that inject lists ({names}): {error}"
        ) from error
    except ValueError:
        pass  # the signature of a built-in cannot be read; the call will tell


def _checked_options(value: Any, what: str) -> None:
    if isinstance(value, DurableOptions):
        return
    hint = ". Write DurableOptions(store=...) around it" if hasattr(value, "claim_runs") else ""
    if isinstance(value, dict):
        hint = ". Write DurableOptions(**...) around it"
    raise ConfigurationError(f"{what} must be a DurableOptions, got {described(value)}{hint}")
