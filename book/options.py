"""Tables of what can be set: options of decorators and classes, and the settings of a process."""

import inspect
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final, is_typeddict

from pydantic_core import PydanticUndefined

import fastapi_durable
from book.docstrings import entries
from book.markdown import code, table
from fastapi_durable import DurableModule, DurableOptions, DurableSettings
from fastapi_durable.engine.context.children import ChildOptions
from fastapi_durable.engine.context.steps import StepOptions
from fastapi_durable.service.named_starts import NamedStartOptions
from fastapi_durable.service.starts import StartOptions

OPTIONS: Final[dict[str, Callable[..., Any]]] = {
    "workflow": fastapi_durable.workflow,
    "Singleton": fastapi_durable.Singleton,
    "Batch": fastapi_durable.Batch,
    "step": fastapi_durable.step,
    "exponential": fastapi_durable.exponential,
    "fixed": fastapi_durable.fixed,
    "ctx.step": StepOptions,
    "ctx.child": ChildOptions,
    "service.start": StartOptions,
    "client.start": NamedStartOptions,
    "Schedule": fastapi_durable.Schedule,
    "Queue": fastapi_durable.Queue,
    "Retention": fastapi_durable.Retention,
    "keep": fastapi_durable.keep,
    "Adaptive": fastapi_durable.Adaptive,
    "DurableModule.for_root_async": DurableModule.for_root_async,
    "DurableModule.router": DurableModule.router,
    "DurableModule.webhook_router": DurableModule.webhook_router,
    "ConsoleLogin": fastapi_durable.ConsoleLogin,
}
"""What has options, by the name of its table. `DurableOptions` has a table of its own."""


def options_of(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield each option of an entry of `OPTIONS`: its name, its default, and what its docstring says of it."""
    target = OPTIONS[name]
    if is_typeddict(target):
        for option, text in _of_a_call(target).items():
            yield option, "", text
        return
    texts = entries(target, "Args", "Attributes")
    for parameter in inspect.signature(target).parameters.values():
        if parameter.name != "self" and parameter.kind is not parameter.POSITIONAL_ONLY:
            yield parameter.name, _default(parameter.default), texts.get(parameter.name, "")


def options(name: str) -> str:
    """Return the table of an entry of `OPTIONS`."""
    rows = [(code(option), default, text) for option, default, text in options_of(name)]
    if not any(default for _, default, _ in rows):  # the options of a call, which can all be left out
        return table(("Option", "What it does"), [(option, text) for option, _, text in rows])
    return table(("Option", "Default", "What it does"), rows)


def _of_a_call(options: Any) -> dict[str, str]:
    """The options of a `TypedDict`, with their texts. It forgets its bases, so they are found by their keys."""
    texts: dict[str, str] = {}
    for module in (StartOptions.__module__, options.__module__):
        for other in vars(sys.modules[module]).values():
            if is_typeddict(other) and other.__annotations__.keys() <= options.__annotations__.keys():
                texts |= entries(other, "Attributes")
    return {name: texts.get(name, "") for name in options.__annotations__}


def module_options() -> Iterator[tuple[str, str, str]]:
    """Yield the options of `DurableOptions` that are no settings."""
    texts = entries(DurableOptions, "Attributes")
    for name, field in DurableOptions.model_fields.items():
        if name not in DurableSettings.model_fields:
            made = field.default_factory
            default = f"`{getattr(made, '__name__', made)}()`" if made else _default(field.default)
            yield name, default, texts.get(name, "")


def durable_options() -> str:
    """Return the table of `DurableOptions`, without the settings."""
    return table(("Option", "Default", "What it does"), ((code(each[0]), *each[1:]) for each in module_options()))


def settings() -> str:
    """Return the table of settings: each is a variable of the environment and an option of `DurableOptions`."""
    rows = []
    for name, field in DurableSettings.model_fields.items():
        default = "random" if field.default_factory else _default(field.default)
        rows.append((code(f"DURABLE_{name.upper()}"), code(name), default, f"{field.description}"))
    return table(("Variable", "Option", "Default", "What it does"), rows)


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty or value is PydanticUndefined:
        return "required"
    if value is None or value == () or inspect.isclass(value):
        return "none"
    if isinstance(value, timedelta):
        return code(_length(value))
    return code(value if isinstance(value, str) else str(value))


def _length(duration: timedelta) -> str:
    """A duration as users write it."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if duration.total_seconds() >= length:
            return f"{duration.total_seconds() / length:g} {unit}"
    return f"{duration.total_seconds() * 1000:g} ms"
