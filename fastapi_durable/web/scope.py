"""The scope of a console request: the running module, and the namespace that the caller sees."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from fastapi_durable.app.runtime import DurableRuntime, RuntimePart
from fastapi_durable.model.errors import RunNotFoundError
from fastapi_durable.model.records import DEFAULT_NAMESPACE, Run
from fastapi_durable.service.facade import RunGateway
from fastapi_durable.store.base import StateStore
from fastapi_durable.web.login.user import ConsoleUser, signed_in
from fastapi_durable.web.namespaces import ALL_NAMESPACES, AllNamespaces
from fastapi_durable.web.problems import NotPermittedError

TenantDependency = Callable[..., Any]
"""A dependency of the application that returns the caller's namespace, or `ALL_NAMESPACES`."""


@dataclass(frozen=True, slots=True)
class ConsoleScope:
    """The runs that one request may see.

    Attributes:
        namespace: The only visible namespace. None: all that the module serves.
        gateway, store: Limited to the namespace.
        may_operate: Whether the changing routes are mounted and the signed-in user's role allows them, so that the
            dashboard offers what works.
        user: The user who is signed in. None on a console without its own login.
    """

    runtime: DurableRuntime
    namespace: str | None
    gateway: RunGateway
    store: StateStore
    may_operate: bool
    user: ConsoleUser | None

    async def run(self, run_id: str) -> Run:
        """Return a run that the caller may see.

        Raises:
            RunNotFoundError: no run has this id, or the run belongs to another tenant. Both look the same.
        """
        run = await self.store.find_run(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        return run

    @property
    def sees_everything(self) -> bool:
        """Whether the caller sees everything that the module serves."""
        return self.namespace is None or self.namespace == self.runtime.kernel.config.namespace

    @property
    def may_start(self) -> bool:
        """Return whether the caller sees the module's namespace, in which runs are created."""
        return self.namespace in (None, self.runtime.kernel.config.namespace or DEFAULT_NAMESPACE)


def scope_dependency(
    module: object, tenant: TenantDependency | None, *, may_operate: bool
) -> Callable[..., Awaitable[None]]:
    """Return a dependency that determines the scope of a request, which `ScopeDep` returns."""
    part: RuntimePart[DurableRuntime] = RuntimePart("get_durable_runtime", lambda runtime: runtime, module)

    async def not_told_apart() -> AllNamespaces:
        return ALL_NAMESPACES

    async def enter_scope(
        request: Request,
        runtime: Annotated[DurableRuntime, Depends(part)],
        given: Annotated[object, Depends(tenant or not_told_apart)],
    ) -> None:
        namespace = _namespace(given)
        own = runtime.kernel.config.namespace
        if tenant is not None and namespace is not None and own not in (None, namespace):
            raise NotPermittedError(f"this console serves another namespace than {namespace!r}")
        user = signed_in(request)
        theirs = None if user is None or user.namespace is ALL_NAMESPACES else user.namespace
        if theirs is not None and (own not in (None, theirs) or namespace not in (None, theirs)):
            raise NotPermittedError(f"this console serves another namespace than {theirs!r}")
        visible = namespace or theirs or own
        request.state.durable_scope = ConsoleScope(
            runtime=runtime,
            namespace=visible,
            gateway=runtime.service.in_namespace(visible),
            store=runtime.store if visible is None else runtime.store.with_scope(visible),
            may_operate=may_operate and (user is None or user.may_operate),
            user=user,
        )

    return enter_scope


def _namespace(given: object) -> str | None:
    """Return the namespace that a tenant dependency gave. None: all. A forgotten `return` must not mean all."""
    if given is ALL_NAMESPACES:
        return None
    if isinstance(given, str) and given:
        return given
    raise NotPermittedError(
        "the tenant dependency must return a namespace, or ALL_NAMESPACES for a caller who may see all of them, got "
        f"a {type(given).__name__}"
    )


def get_scope(request: Request) -> ConsoleScope:
    """Return the scope that the router's own dependency determined."""
    scope: ConsoleScope = request.state.durable_scope
    return scope


ScopeDep = Annotated[ConsoleScope, Depends(get_scope)]
