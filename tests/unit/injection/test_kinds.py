"""What may be a dependency of a step, and what the step then gets."""

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends
from pydantic_settings import BaseSettings

from fastapi_durable.app.runtime import StandaloneApplication
from fastapi_durable.injection import DependencyResolver


@pytest.fixture
def resolver() -> DependencyResolver:
    return DependencyResolver(StandaloneApplication())


class Clerk:
    def __init__(self) -> None:
        self.thread = threading.get_ident()


class Multiplier:
    """A configured dependency: an object that is called."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    async def __call__(self) -> int:
        return 2 * self.factor


async def coroutine_function() -> str:
    return "value"


def plain_function() -> str:
    return "value"


async def async_generator() -> AsyncIterator[str]:
    yield "value"


def generator() -> Iterator[str]:
    yield "value"


@functools.lru_cache
def cached_function() -> str:
    return "value"


def with_argument(text: str) -> str:
    return text


@pytest.mark.parametrize(
    "dependency",
    [
        coroutine_function,
        plain_function,
        async_generator,
        generator,
        cached_function,
        functools.partial(with_argument, text="value"),
    ],
)
async def test_functions_and_generators_of_every_kind_supply_their_value(
    resolver: DependencyResolver, dependency: Any
) -> None:
    async def step(*, value: Annotated[str, Depends(dependency)]) -> None: ...

    resolver.check(step)
    async with resolver.provide(step) as arguments:
        assert arguments == {"value": "value"}


async def test_a_class_supplies_an_instance_and_is_named_by_the_annotation_alone(resolver: DependencyResolver) -> None:
    async def step(*, clerk: Annotated[Clerk, Depends()]) -> None: ...

    async with resolver.provide(step) as arguments:
        assert isinstance(arguments["clerk"], Clerk)


async def test_a_callable_object_is_called(resolver: DependencyResolver) -> None:
    async def step(*, number: Annotated[int, Depends(Multiplier(21))]) -> None: ...

    async with resolver.provide(step) as arguments:
        assert arguments == {"number": 42}


async def test_a_bound_method_is_called_on_its_object(resolver: DependencyResolver) -> None:
    class Office:
        def __init__(self, town: str) -> None:
            self.town = town

        async def address(self) -> str:
            return self.town

    first, second = Office("Bonn"), Office("Trier")

    async def step(
        *, one: Annotated[str, Depends(first.address)], other: Annotated[str, Depends(second.address)]
    ) -> None: ...

    async with resolver.provide(step) as arguments:
        assert arguments == {"one": "Bonn", "other": "Trier"}


async def test_depends_as_the_default_is_read_too(resolver: DependencyResolver) -> None:
    async def step(*, value: str = Depends(coroutine_function)) -> None: ...

    async with resolver.provide(step) as arguments:
        assert arguments == {"value": "value"}


async def test_synchronous_dependencies_run_in_a_worker_thread(resolver: DependencyResolver) -> None:
    def thread() -> int:
        return threading.get_ident()

    def generator_thread() -> Iterator[int]:
        yield threading.get_ident()

    async def step(
        *,
        one: Annotated[int, Depends(thread)],
        two: Annotated[int, Depends(generator_thread)],
        three: Annotated[Clerk, Depends()],
    ) -> None: ...

    async with resolver.provide(step) as arguments:
        here = threading.get_ident()
        assert here not in (arguments["one"], arguments["two"], arguments["three"].thread)


async def test_dependencies_of_dependencies_are_supplied(resolver: DependencyResolver) -> None:
    class Settings(BaseSettings):
        greeting: str = "hello"

    @functools.lru_cache
    def get_settings() -> Settings:
        return Settings()

    async def greeting(settings: Annotated[Settings, Depends(get_settings)]) -> AsyncIterator[str]:
        yield settings.greeting

    def shouted(text: Annotated[str, Depends(greeting)]) -> str:
        return text.upper()

    async def step(*, text: Annotated[str, Depends(shouted)]) -> None: ...

    resolver.check(step)
    async with resolver.provide(step) as arguments:
        assert arguments == {"text": "HELLO"}


async def test_a_dependency_is_called_once_an_execution_unless_it_says_otherwise(resolver: DependencyResolver) -> None:
    calls: list[int] = []

    async def number() -> int:
        calls.append(len(calls))
        return calls[-1]

    async def next_number(value: Annotated[int, Depends(number)]) -> int:
        return value

    async def step(
        *,
        one: Annotated[int, Depends(number)],
        same: Annotated[int, Depends(next_number)],
        fresh: Annotated[int, Depends(number, use_cache=False)],
    ) -> None: ...

    async with resolver.provide(step) as arguments:
        assert arguments == {"one": 0, "same": 0, "fresh": 1}
    async with resolver.provide(step) as arguments:
        assert arguments["one"] == 2


async def test_input_and_defaulted_parameters_are_left_alone(resolver: DependencyResolver) -> None:
    async def step(order: str, *, value: Annotated[str, Depends(plain_function)], loud: bool = True) -> None: ...

    resolver.check(step)
    async with resolver.provide(step) as arguments:
        assert arguments == {"value": "value"}


async def test_a_parameter_with_a_default_keeps_it_in_a_dependency(resolver: DependencyResolver) -> None:
    async def page(size: int = 20) -> int:
        return size

    async def step(*, size: Annotated[int, Depends(page)]) -> None: ...

    async with resolver.provide(step) as arguments:
        assert arguments == {"size": 20}


async def test_annotations_written_as_strings_are_read(resolver: DependencyResolver) -> None:
    async def step(*, value: "Annotated[str, Depends(coroutine_function)]") -> "NotImported": ...  # type: ignore[name-defined] # noqa: F821

    async with resolver.provide(step) as arguments:
        assert arguments == {"value": "value"}


async def test_steps_made_anew_each_time_are_not_kept(resolver: DependencyResolver) -> None:
    """A workflow may define a step inside its body; remembering each of them would be a leak."""
    import gc
    import weakref

    def make() -> Any:
        async def step(*, value: Annotated[str, Depends(plain_function)]) -> None: ...

        return step

    step = make()
    resolver.check(step)
    async with resolver.provide(step):
        pass
    gone = weakref.ref(step)
    del step
    gc.collect()
    assert gone() is None


async def test_a_dependency_with_a_limit_is_in_use_that_many_times_at_most(resolver: DependencyResolver) -> None:
    """`max_concurrency` counts routes and steps together."""
    if "max_concurrency" not in inspect.signature(Depends).parameters:
        pytest.skip("this FastAPI has no max_concurrency")
    in_use: list[int] = []
    most = 0

    async def connection() -> AsyncIterator[None]:
        nonlocal most
        in_use.append(1)
        most = max(most, len(in_use))
        yield
        in_use.pop()

    async def lookup() -> None:
        nonlocal most
        in_use.append(1)
        most = max(most, len(in_use))
        await asyncio.sleep(0)
        in_use.pop()

    async def with_connection(*, _: Annotated[None, Depends(connection, max_concurrency=2)]) -> None: ...
    async def with_lookup(*, _: Annotated[None, Depends(lookup, max_concurrency=2)]) -> None: ...

    for step in (with_connection, with_lookup):
        most = 0

        async def execute(step: Any) -> None:
            async with resolver.provide(step):
                await asyncio.sleep(0)

        await asyncio.gather(*[execute(step) for _ in range(5)])
        assert most == 2
