"""Finds unsafe calls in the source of a workflow's body, when the application starts.

A replay returns all recorded results at once. So the winner of `asyncio.wait` may be another branch than the first
time, and `asyncio.timeout` may expire or not. A body that sleeps outside of its context keeps the run in memory, and
sleeps again on every replay. The same holds for a request, a query, or a run that the service starts. The time, random
numbers and a step that is called as a function differ on each replay. A call of the context that is not awaited does
nothing.

The check reads the body and the application's own functions that it calls. It knows what is awaited by what the names
mean: functions, and the types of parameters and of objects that the body makes. The check only warns. While runs are
driven, a guard sees what a body really awaits (`engine/turns/foreign_await.py`).
"""

import ast
import asyncio
import inspect
import os
import random
import secrets
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from types import FunctionType
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi_durable.declare.annotations import hints_of
from fastapi_durable.declare.methods import STEP, Method, plain
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.foreign_await import Origin, origin_of
from fastapi_durable.model.errors import DefinitionError

_USE_RACE = "which branch comes first may differ on a replay: use `ctx.race`"
_USE_TIMEOUT = "whether it times out may differ on a replay: use `timeout=` of the call, or `ctx.race` with `ctx.sleep`"
_USE_SLEEP = "it starts again on every replay: use `ctx.sleep`"
_USE_NOW = "it returns another time on every replay: use `ctx.now`"
_USE_UUID = "it returns another value on every replay: use `ctx.uuid`"
_USE_RANDOM = "it returns another value on every replay: use `ctx.random`, or `ctx.side_effect`"

_USE_STEP = "nothing records it, and every replay executes it again: use a step"
_USE_CHILD = f"{_USE_STEP}, or `ctx.child` and `ctx.start_child` for another workflow"

_DEPTH: Final = 8
"""How many calls deep the check follows the functions that a body calls."""
_COORDINATION: Final = ("asyncio", "anyio", "contextlib")
"""Packages that await coroutines they receive. The check reads these coroutines where they are written."""
_FOREIGN: Final = ("to_thread", "open_connection", "create_subprocess_exec", "create_subprocess_shell", "sleep")
"""Functions of these packages that wait for something themselves."""

_UNSAFE: dict[Any, str] = {
    asyncio.wait: _USE_RACE,
    asyncio.as_completed: _USE_RACE,
    asyncio.wait_for: _USE_TIMEOUT,
    asyncio.timeout: _USE_TIMEOUT,
    asyncio.timeout_at: _USE_TIMEOUT,
    asyncio.sleep: _USE_SLEEP,
    time.sleep: "it blocks every other run of the process: use `ctx.sleep`",
    **dict.fromkeys((time.time, time.time_ns, time.monotonic, time.monotonic_ns, time.perf_counter), _USE_NOW),
    **dict.fromkeys((datetime.now, datetime.utcnow, datetime.today, date.today), _USE_NOW),
    **dict.fromkeys((uuid.uuid1, uuid.uuid4), _USE_UUID),
    **dict.fromkeys((random.random, random.randint, random.randrange, random.uniform), _USE_RANDOM),
    **dict.fromkeys((random.choice, random.choices, random.sample, random.shuffle, random.getrandbits), _USE_RANDOM),
    **dict.fromkeys((secrets.token_hex, secrets.token_urlsafe, secrets.token_bytes, secrets.choice), _USE_RANDOM),
    os.urandom: _USE_RANDOM,
}


@dataclass(frozen=True, slots=True)
class Unsafe:
    """A call in a body that does nothing, or may differ on a replay. `mend` says what to use instead."""

    file: str
    line: int
    call: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.call}: {self.mend}"


@dataclass(frozen=True, slots=True)
class _Instance:
    """A value that does not exist yet. `type` is None if its type is unknown."""

    type: type | None


def unsafe_calls(body: Callable[..., Any]) -> list[Unsafe]:
    """The calls that are unsafe in the body of a workflow, and in the functions that it calls.

    Args:
        body: A function, or the `run` of a workflow's class. There is nothing to find if its source cannot be read.
    """
    owner = body.owner if isinstance(body, Method) else None
    written = body.function if isinstance(body, Method) else body
    return _Reader().read(written, None if owner is None else _Instance(owner), is_body=True)


class _Reader:
    """Reads each function once."""

    def __init__(self) -> None:
        self._read: set[Any] = set()

    def read(
        self,
        function: Callable[..., Any],
        instance: _Instance | None,
        *,
        is_body: bool = False,
        contexts: frozenset[str] = frozenset(),
        depth: int = 0,
    ) -> list[Unsafe]:
        """Yield the unsafe calls of a function, then those of the functions that it calls.

        Args:
            instance: Its `self`. None: it is not a method.
            is_body: Whether its first parameter is the context, and the parameters after its input are injected.
            contexts: Other parameters that receive the context.
        """
        try:
            function = inspect.unwrap(function)
            if function in self._read:
                return []
            self._read.add(function)
            return self._unsafe_in(function, instance, is_body=is_body, contexts=contexts, depth=depth)
        except Exception:
            # Resolving a name runs foreign code. A warning must not keep an application from starting.
            return []

    def _unsafe_in(
        self,
        function: Callable[..., Any],
        instance: _Instance | None,
        *,
        is_body: bool,
        contexts: frozenset[str],
        depth: int,
    ) -> list[Unsafe]:
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):
            return []
        if len(tree.body) != 1 or not inspect.isfunction(function):
            # For a lambda from an interactive session, Python 3.13 finds lines of another file.
            return []
        (node,) = tree.body
        scope = _Scope(function, node, instance, is_body=is_body, contexts=contexts)
        file = inspect.getsourcefile(function) or "?"
        found, followed = [], []
        for call in _calls(node):
            target = scope.resolved(call.func)
            mend = _mend(call, target) or (_foreign(call, target, scope) if call in scope.awaited else None)
            if mend is not None:
                found.append((call, mend))
            elif depth < _DEPTH and _is_followed(target):
                followed.append((call, target))
        found += [
            (call, f"it is not awaited, so nothing happens: use `await {ast.unparse(call)}`")
            for call in _lost(node, scope.contexts)
        ]
        found.sort(key=lambda each: each[0].lineno)
        unsafe = [Unsafe(file, first + call.lineno - 1, ast.unparse(call.func), mend) for call, mend in found]
        for call, target in followed:
            given = scope.contexts_given(call, target)
            unsafe += self.read(target, scope.holder(call.func), contexts=given, depth=depth + 1)
        return unsafe


class _Scope:
    """Resolves the names in a function.

    Attributes:
        contexts: Names of the workflow's context.
        awaited: Calls whose result is awaited, directly or together with others.
    """

    def __init__(
        self,
        function: FunctionType,
        node: ast.stmt,
        instance: _Instance | None,
        *,
        is_body: bool,
        contexts: frozenset[str],
    ) -> None:
        local = set(function.__code__.co_varnames) | set(function.__code__.co_cellvars)
        outer = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
        self._names: dict[str, Any] = {name: value for name, value in outer.items() if name not in local}
        self.awaited = set(_awaited(node))
        parameters = list(inspect.signature(function).parameters.values())
        if instance is not None and parameters:
            self._names[parameters.pop(0).name] = instance
        if is_body and parameters:
            contexts |= {parameters[0].name}
        types = _types_of(function)
        for parameter in parameters:
            kind = types.get(parameter.name)
            if parameter.name in contexts:
                continue
            if kind is not None and issubclass(kind, WorkflowContext):
                contexts |= {parameter.name}
            elif kind is not None or (is_body and parameter.kind is parameter.KEYWORD_ONLY):
                self._names[parameter.name] = _Instance(kind)
        for name, made in _made(node).items():
            if inspect.isclass(kind := self.resolved(made.func)):
                self._names[name] = _Instance(kind)
        self.contexts = contexts

    def resolved(self, node: ast.expr) -> Any:
        """Return the function or class that `name`, `name.name` and so on refers to. None if it is unknown."""
        found = self._looked_up(node)
        return found if callable(found) and type(found).__hash__ is not None else None

    def holder(self, node: ast.expr) -> _Instance | None:
        """Return the object whose method is called. None if it is not a method."""
        held = self._looked_up(node.value) if isinstance(node, ast.Attribute) else None
        return _instance_of(held)

    def is_injected(self, node: ast.expr) -> bool:
        """Return whether it is reached from a dependency of the body, or from an attribute of a workflow's instance."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and isinstance(self._names.get(node.id), _Instance)

    def gets_context(self, call: ast.Call) -> bool:
        """Return whether a call receives the context, or anything that was made with it."""
        arguments = [*call.args, *(each.value for each in call.keywords)]
        return any(isinstance(each, ast.Name) and each.id in self.contexts for a in arguments for each in ast.walk(a))

    def contexts_given(self, call: ast.Call, target: Callable[..., Any]) -> frozenset[str]:
        """Return the parameters of `target` that receive the context in this call."""
        names = list(inspect.signature(inspect.unwrap(target)).parameters)
        if self.holder(call.func) is not None:
            names = names[1:]
        pairs = [*zip(names, call.args, strict=False), *((each.arg, each.value) for each in call.keywords)]
        return frozenset(
            name for name, value in pairs if name and isinstance(value, ast.Name) and value.id in self.contexts
        )

    def _looked_up(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            holder = self._looked_up(node.value)
            if inspect.ismodule(holder) or inspect.isclass(holder):
                return getattr(holder, node.attr, None)
            # An attribute of an object may be computed, so the check looks only for methods.
            if (instance := _instance_of(holder)) is not None and instance.type is not None:
                found = inspect.getattr_static(instance.type, node.attr, None)
                return found if inspect.isfunction(found) else None
        return None


def _mend(call: ast.Call, target: Any) -> str | None:
    """Return what to use instead of a call of `target`. None: the call seems safe."""
    if inspect.isfunction(target) and hasattr(target, STEP):
        if plain(target) is not target:
            # A step of a workflow's class, called on `self`, is durable.
            return None
        return f"nothing records it, and every replay executes it again: use `ctx.step({ast.unparse(call.func)}, ...)`"
    return _UNSAFE.get(target)


def _foreign(call: ast.Call, target: Any, scope: _Scope) -> str | None:
    """Return what to do instead of awaiting something unrelated to the context. None if it may be related."""
    if scope.gets_context(call):
        return None
    if not inspect.isfunction(target):
        # A dependency of unknown type, or one of its attributes: `await prisma.order.create(...)`.
        if target is not None or not isinstance(call.func, ast.Attribute) or not scope.is_injected(call.func):
            return None
        # A method of this name belongs to the context, which `self` may hold: `await self.ctx.step(...)`.
        return None if hasattr(WorkflowContext, call.func.attr) else _USE_STEP
    function = inspect.unwrap(target)
    if not inspect.iscoroutinefunction(function):
        return None
    origin, module = origin_of(function.__code__.co_filename), function.__module__.partition(".")[0]
    if origin is Origin.LIBRARY:
        return _USE_CHILD if function.__name__ in ("start", "execute", "signal_with_start") else _USE_STEP
    if origin not in (Origin.ASYNCIO, Origin.INSTALLED):
        return None
    return None if module in _COORDINATION and function.__name__ not in _FOREIGN else _USE_STEP


def _is_followed(target: Any) -> bool:
    """Return whether it is a function of the application whose source can be read."""
    if not inspect.isfunction(target) or hasattr(target, STEP):
        return False
    return origin_of(inspect.unwrap(target).__code__.co_filename) is Origin.APPLICATION


def _calls(function: ast.AST) -> Iterator[ast.Call]:
    return (node for node in _nodes(function) if isinstance(node, ast.Call))


def _awaited(function: ast.AST) -> Iterator[ast.Call]:
    """Return the calls that are awaited, and those whose coroutines an awaited call receives: `await gather(get(),
    ...)`.
    """
    for node in _nodes(function):
        if isinstance(node, ast.Await):
            yield from (each for each in (node.value, *_nodes(node.value)) if isinstance(each, ast.Call))


def _lost(function: ast.AST, contexts: frozenset[str]) -> Iterator[ast.Call]:
    """Return the calls of the context that are statements of their own, and so never awaited."""
    for node in _nodes(function):
        if not isinstance(node, ast.Expr) or not isinstance(call := node.value, ast.Call):
            continue
        if isinstance(called := call.func, ast.Attribute) and isinstance(called.value, ast.Name):
            primitive = getattr(WorkflowContext, called.attr, None)
            if called.value.id in contexts and callable(primitive) and primitive is not WorkflowContext.continue_as_new:
                yield call


def _made(function: ast.AST) -> dict[str, ast.Call]:
    """Return the local names that hold the result of one call: `client = Client()`, `async with Client() as
    client`.
    """
    values: dict[str, list[ast.expr | None]] = {}
    for node in _nodes(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            values.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            values.setdefault(node.optional_vars.id, []).append(node.context_expr)
    return {name: made[0] for name, made in values.items() if len(made) == 1 and isinstance(made[0], ast.Call)}


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of the body itself, without closures: a closure may be a step."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _nodes(child)


def _types_of(function: FunctionType) -> dict[str, type]:
    """Return the declared classes of the parameters, without other annotations."""
    try:
        hints = hints_of(function, function.__qualname__)
    except DefinitionError:
        return {}
    found = {
        name: get_args(hint)[0] if get_origin(hint) is Annotated else hint
        for name, hint in hints.items()
        if name != "return"
    }
    return {
        name: kind
        for name, kind in found.items()
        if inspect.isclass(kind) and kind is not Any and get_origin(kind) is None
    }


def _instance_of(value: Any) -> _Instance | None:
    """Return the value as an object with methods. None for a module, a class, a function or an unknown value."""
    if isinstance(value, _Instance):
        return value
    if value is None or inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value):
        return None
    return _Instance(type(value))
