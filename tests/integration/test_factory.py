"""How options come into being, and what is said about wrong ones."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    StateStore,
    WorkflowContext,
    app_scoped,
    step,
    workflow,
)
from fastapi_durable.errors import ConfigurationError, DefinitionError, InjectionError
from tests.integration.order_desk import checkout


class Client:
    def __init__(self, name: str = "real") -> None:
        self.name = name


class ClientStore(MemoryStateStore):
    """A store on a client, as an application's own would be."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client


@app_scoped
async def get_client() -> AsyncIterator[Client]:
    yield Client()


def options_of(client: Client) -> DurableOptions:
    return DurableOptions(store=ClientStore(client))


async def async_options_of(client: Client) -> DurableOptions:
    return options_of(client)


def injected_options(client: Annotated[Client, Depends(get_client)]) -> DurableOptions:
    return options_of(client)


async def async_injected_options(*, client: Annotated[Client, Depends(get_client)]) -> DurableOptions:
    return options_of(client)


async def store_of(durable: DurableModule, app: FastAPI | None = None) -> StateStore:
    app = app or FastAPI()
    async with durable.lifespan(app):
        return durable.runtime(app).store


@pytest.mark.parametrize(
    ("factory", "inject"),
    [
        (options_of, [get_client]),
        (async_options_of, [get_client]),
        (lambda client: DurableOptions(store=ClientStore(client)), [get_client]),
        (lambda client: async_options_of(client or Client("none")), [get_client]),
        (injected_options, None),
        (async_injected_options, None),
    ],
)
async def test_a_factory_of_every_kind_gets_the_app_scoped_client(
    factory: Callable[..., Any], inject: list[Callable[..., Any]] | None
) -> None:
    durable = DurableModule.for_root_async(use_factory=factory, inject=inject)
    app = FastAPI()
    async with durable.lifespan(app):
        store = durable.runtime(app).store
        assert isinstance(store, ClientStore)
        assert store.client.name == "real"


@pytest.mark.parametrize(("factory", "inject"), [(options_of, [get_client]), (injected_options, None)])
async def test_overrides_reach_what_the_factory_is_given(
    factory: Callable[..., Any], inject: list[Callable[..., Any]] | None
) -> None:
    durable = DurableModule.for_root_async(use_factory=factory, inject=inject)
    app = FastAPI()
    app.dependency_overrides[get_client] = lambda: Client("fake")
    store = await store_of(durable, app)
    assert isinstance(store, ClientStore)
    assert store.client.name == "fake"
    async with durable.running(dependency_overrides={get_client: lambda: Client("fake too")}) as runtime:
        assert isinstance(runtime.store, ClientStore)
        assert runtime.store.client.name == "fake too"


async def test_what_is_injected_in_order_is_passed_in_order() -> None:
    async def one() -> int:
        return 1

    async def two() -> int:
        return 2

    given: list[tuple[int, int]] = []

    def factory(first: int, second: int) -> DurableOptions:
        given.append((first, second))
        return DurableOptions(store=MemoryStateStore())

    await store_of(DurableModule.for_root_async(use_factory=factory, inject=[two, one]))
    assert given == [(2, 1)]


async def test_a_generator_that_is_not_app_scoped_lives_as_long_as_the_application_too() -> None:
    events: list[str] = []

    async def get_url() -> AsyncIterator[str]:
        yield "url"
        events.append("left")

    durable = DurableModule.for_root_async(
        use_factory=lambda url: DurableOptions(store=MemoryStateStore()), inject=[get_url]
    )
    async with durable.lifespan(FastAPI()):
        assert events == []
    assert events == ["left"]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "the result of use_factory must be a DurableOptions, got None"),
        (
            MemoryStateStore(),
            "must be a DurableOptions, got a MemoryStateStore. Write DurableOptions(store",
        ),
        ({"store": None}, r"must be a DurableOptions, got a dict. Write DurableOptions(**"),
    ],
)
async def test_a_factory_that_returns_something_else_is_told_what_came_and_what_is_expected(
    returned: Any, said: str
) -> None:
    durable = DurableModule.for_root_async(use_factory=lambda: returned)
    with pytest.raises(ConfigurationError) as caught:
        await store_of(durable)
    assert said in str(caught.value)


def test_ready_options_of_the_wrong_kind_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="for_root must be a DurableOptions, got a MemoryStateStore"):
        DurableModule.for_root(MemoryStateStore())  # type: ignore[arg-type]


async def test_an_error_in_the_factory_comes_out_as_it_is() -> None:
    def factory() -> DurableOptions:
        raise LookupError("no such tenant")

    with pytest.raises(LookupError, match="no such tenant"):
        await store_of(DurableModule.for_root_async(use_factory=factory))


@pytest.mark.parametrize(
    ("factory", "inject", "said"),
    [
        (DurableOptions(store=MemoryStateStore()), None, "Pass ready options to DurableModule.for_root"),
        (options_of, [get_client, get_client], "must take one positional argument for each dependency"),
        (options_of, [], r"for each dependency that inject lists \(nothing\): missing a required argument: 'client'"),
        (options_of, [Annotated[Client, Depends(get_client)]], "inject must list dependency functions"),
        (options_of, [Depends(get_client)], "inject must list dependency functions"),
    ],
)
def test_a_factory_that_cannot_be_called_is_refused_when_the_module_is_made(
    factory: Any, inject: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        DurableModule.for_root_async(use_factory=factory, inject=inject)


async def test_a_factory_that_needs_a_request_is_refused() -> None:
    def from_request(request: Request) -> DurableOptions:
        raise AssertionError

    with pytest.raises(InjectionError, match="'request' of dependency 'from_request' is bound to a request"):
        await store_of(DurableModule.for_root_async(use_factory=from_request))


async def test_a_workflow_or_listed_step_that_needs_a_request_is_refused_at_the_start() -> None:
    @workflow
    async def flow(ctx: WorkflowContext, *, request: Request) -> None: ...

    @step
    async def charge(*, request: Request) -> None: ...

    options = DurableOptions(store=MemoryStateStore())
    with pytest.raises(InjectionError, match="'request' of workflow 'flow'"):
        await store_of(DurableModule.for_root(options, workflows=[flow]))
    with pytest.raises(InjectionError, match="'request' of step 'charge'"):
        await store_of(DurableModule.for_root(options, steps=[charge]))


def test_a_function_that_is_no_workflow_is_refused_when_the_module_is_made() -> None:
    async def flow(ctx: WorkflowContext) -> None: ...

    options = DurableOptions(store=MemoryStateStore())
    with pytest.raises(DefinitionError, match="Decorate it with @workflow"):
        DurableModule.for_root(options, workflows=[flow])
    with pytest.raises(DefinitionError, match="registered twice"):
        DurableModule.for_root(options, workflows=[checkout, checkout])
