"""Methods as steps and as bodies of workflows.

`@workflow` on a class makes its `@step` methods durable: in the body of a run, `await self.charge(order)` means `await
ctx.step(self.charge, order)`. Everywhere else, such as in a test or inside a step, it is a plain call. Without an
instance, as in `ctx.step(Payments.charge, order)`, injection makes one for each execution.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

from fastapi_durable.declare.scoped_values import Scoped
from fastapi_durable.model.errors import DefinitionError

STEP = "__durable_step__"
"""Attribute in which `@step` stores its declaration."""

_METHOD = "__durable_method__"

StepRunner = Callable[..., Any]
"""The `ctx.step` of the run whose body is executed."""

_runner: ContextVar[StepRunner | None] = ContextVar("durable_step_runner", default=None)


def steps_run_by(runner: StepRunner | None) -> Scoped:
    """Says what a call of a durable method does in a context; None: it is a plain call."""
    return _runner, runner


@dataclass(frozen=True)
class Method:
    """A method of a class whose instance is injected for each call: a dependency named `self`."""

    owner: type
    name: str

    @property
    def attribute(self) -> Callable[..., Any]:
        """The value of `Class.method`."""
        found: Callable[..., Any] = inspect.getattr_static(self.owner, self.name)
        return found

    @property
    def function(self) -> Callable[..., Any]:
        """The function as it was written."""
        return plain(self.attribute)

    def __call__(self, /, *arguments: Any, **dependencies: Any) -> Any:
        instance = dependencies.pop("self")
        return getattr(instance, self.name)(*arguments, **dependencies)


def make_durable(cls: type) -> None:
    """Let the `@step` methods of a workflow class be called on `self` in its body.

    Raises:
        DefinitionError: a step of the class has no `self`, or is overridden by something that is not a step.
    """
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if not hasattr(function, STEP) and any(hasattr(vars(base).get(name), STEP) for base in cls.__mro__):
            raise DefinitionError(
                f"{cls.__qualname__}.{name} overrides a step of its base class. Decorate it with @step as well"
            )
        if isinstance(function, staticmethod | classmethod) and hasattr(function.__func__, STEP):
            raise DefinitionError(
                f"{cls.__qualname__}.{name} is a step without `self`. Make it a method, or a function outside the class"
            )
        if isinstance(function, FunctionType) and hasattr(function, STEP):
            # Also for an inherited method, so that `Class.method` identifies the class.
            setattr(cls, name, _durable(plain(function)))


def step_methods(cls: type) -> Iterator[Method]:
    """The methods of a class that are decorated with `@step`."""
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if isinstance(function, FunctionType) and hasattr(function, STEP):
            yield Method(cls, name)


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method behind a durable method, bound if that is bound. Any other function is returned as it is."""
    known = getattr(function, _METHOD, None)
    # `functools.wraps` copies the mark to other functions, which have their own declaration.
    if known is None or known[0] is not getattr(function, "__func__", function):
        return function
    original: Callable[..., Any] = known[1]
    instance = getattr(function, "__self__", None)
    return original if instance is None else MethodType(original, instance)


def _durable(function: Callable[..., Any]) -> Callable[..., Any]:
    name = function.__qualname__
    is_async = inspect.iscoroutinefunction(function)

    @functools.wraps(function)
    def method(self: Any, /, *arguments: Any, **named: Any) -> Any:
        run_step = _runner.get()
        if run_step is None:
            return function(self, *arguments, **named)
        if not is_async:
            raise DefinitionError(
                f"a step that is called on `self` must be `async def`, got the plain `def` {name}. Write `await "
                f"ctx.step(self.{function.__name__}, ...)`, or make it `async def`"
            )
        if named:
            raise DefinitionError(
                f"the input of {name} must be given by position, got {', '.join(named)} by name. Keyword-only "
                "parameters are injected"
            )
        return run_step(MethodType(function, self), *arguments)

    setattr(method, _METHOD, (method, function))
    return method
