"""What may be declared as a workflow or a step, and what the declaration says."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from fastapi_durable.declare.definition import StepPolicy, step, step_definition, workflow, workflow_definition
from fastapi_durable.declare.names import checked_name
from fastapi_durable.declare.retry import fixed
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.model.errors import DefinitionError


class Context: ...


async def plain(value: int) -> str:
    return str(value)


T = TypeVar("T")


async def takes_anything(value: T) -> None: ...


async def takes_many(values: list[T]) -> None: ...


async def gives_anything() -> T: ...  # type: ignore[empty-body] # what is refused


@pytest.mark.parametrize("function", [takes_anything, takes_many, gives_anything])
def test_a_type_variable_is_refused(function: Callable[..., Any]) -> None:
    """Nobody could tell what a stored value is: it came back as a dict."""
    with pytest.raises(DefinitionError, match=r"of step '\w+' must be a type, got the type variable ~T"):
        step_definition(function)


def test_an_undecorated_function_is_a_step_with_the_defaults() -> None:
    definition = step_definition(plain)
    assert (definition.name, definition.input_type, definition.output_type) == ("plain", int, str)
    assert (definition.blocking, definition.policy) == (False, StepPolicy())


def test_a_decorated_function_is_returned_unchanged_and_says_how_it_wants_to_be_run() -> None:
    async def charge(value: int) -> str:
        return str(value)

    decorated = step(name="charge card", max_attempts=3, backoff=fixed("1s"), timeout="5s")(charge)
    assert decorated is charge
    definition = step_definition(charge)
    assert definition.name == "charge card"
    assert definition.policy == StepPolicy(max_attempts=3, backoff=fixed("1s"), timeout=timedelta(seconds=5))


def test_a_plain_def_is_blocking_and_so_is_an_object_with_a_plain_call() -> None:
    class Sender:
        def __call__(self, value: int) -> None: ...

    class AsyncSender:
        async def __call__(self, value: int) -> None: ...

    def send(value: int) -> None: ...

    assert step_definition(send).blocking
    assert step_definition(Sender()).blocking
    assert not step_definition(AsyncSender()).blocking


def test_a_method_is_named_after_its_class_and_takes_its_input_without_self() -> None:
    class Cards:
        @step(max_attempts=2)
        async def charge(self, cents: int) -> bool:
            return cents > 0

    definition = step_definition(Cards().charge)
    assert (definition.name, definition.input_type, definition.policy.max_attempts) == ("Cards.charge", int, 2)


def test_keyword_only_parameters_are_no_input() -> None:
    async def work(*, dependency: int) -> None: ...

    assert step_definition(work).input_type is NoInput


def test_the_first_parameter_of_a_transaction_is_not_its_input() -> None:
    async def book(tx: object, value: int) -> None: ...

    async def book_nothing(tx: object) -> None: ...

    assert step_definition(book, leading=("tx",)).input_type is int
    assert step_definition(book_nothing, leading=("tx",)).input_type is NoInput


async def _two_inputs(first: int, second: int) -> None: ...
async def _star_args(*values: int) -> None: ...
async def _star_kwargs(**values: int) -> None: ...
async def _unknown_annotation(value: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_two_inputs, "must take one input or none, got first, second"),
        (_star_args, r"got \*args"),
        (_star_kwargs, r"got \*\*kwargs"),
        (_unknown_annotation, "Missing"),
    ],
)
def test_a_signature_that_cannot_work_is_refused_with_the_mend(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        step_definition(function)


def test_a_workflow_has_a_name_a_version_tags_and_its_types() -> None:
    @workflow(name="checkout", version="2", tags=["shop"], execution_timeout="1h")
    async def flow(ctx: Context, order: int) -> str:
        return str(order)

    definition = workflow_definition(flow)
    assert definition.key == ("checkout", "2")
    assert (definition.input_type, definition.output_type) == (int, str)
    assert (definition.tags, definition.execution_timeout) == (("shop",), timedelta(hours=1))
    assert definition.origin == "tests"


def test_what_is_no_workflow_is_refused_with_the_mend() -> None:
    def blocking(ctx: Context) -> None: ...

    async def without_context() -> None: ...

    with pytest.raises(DefinitionError, match="Decorate it with @workflow"):
        workflow_definition(plain)
    with pytest.raises(DefinitionError, match="must be `async def"):
        workflow_definition(workflow(blocking))
    with pytest.raises(DefinitionError, match="must take ctx"):
        workflow_definition(workflow(without_context))
    with pytest.raises(DefinitionError, match="tags must be a sequence"):
        workflow(tags="shop")(plain)


def test_a_workflow_that_forgot_its_context_is_refused_and_told_what_to_write() -> None:
    """Its input would be the context, and what it is started with nowhere."""

    async def on_its_own(name: str) -> None: ...

    async def of_many(names: list[str], *, gateway: Any = None) -> None: ...

    class Greeting:
        async def run(self, name: str) -> None: ...

    for body in (on_its_own, Greeting):
        with pytest.raises(DefinitionError, match=r"`async def \(ctx: WorkflowContext, name: str\)`"):
            workflow_definition(workflow(body))
    with pytest.raises(DefinitionError, match="'names', declared as list"):
        workflow_definition(workflow(of_many))


@pytest.mark.parametrize("name", ["", "a\x00b", "a\nb", "\ud800", "x" * 201])
def test_a_name_that_cannot_be_stored_or_shown_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="printable"):
        checked_name(name)


@pytest.mark.parametrize("attempts", [0, -1])
def test_a_step_is_attempted_at_least_once(attempts: int) -> None:
    with pytest.raises(DefinitionError, match="max_attempts must be 1 or more"):
        step(max_attempts=attempts)(plain)


def test_what_a_call_overrides_leaves_the_rest_as_declared() -> None:
    declared = StepPolicy(max_attempts=3, backoff=fixed("1s"), timeout=timedelta(seconds=5))
    assert declared.override() == declared
    assert declared.override(max_attempts=1).timeout == timedelta(seconds=5)
    assert declared.override(timeout="1 min").max_attempts == 3


def test_a_builtin_cannot_be_marked_as_a_step() -> None:
    with pytest.raises(DefinitionError, match="must decorate"):
        step(len)
