"""What a workflow's body should not await, found in its source when the application starts.

On a replay, everything that is recorded comes at once, so who wins a race of `asyncio.wait` or runs into
`asyncio.timeout` may be somebody else than the first time; and a body that sleeps outside of its context holds the run
in memory, and begins again on every replay. The time, chance and a step that is called as a function are something else
on each of them. A call of the context that nobody awaits does nothing at all. Only the body itself is read, not what it
calls: the check warns, and proves nothing.
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
from typing import Any

from fastapi_durable.declare.methods import STEP
from fastapi_durable.engine.context.workflow_context import WorkflowContext

_USE_RACE = "which branch comes first may differ on a replay: use `ctx.race`"
_USE_TIMEOUT = "whether it runs out may differ on a replay: use `timeout=` of the call, or `ctx.race` with `ctx.sleep`"
_USE_SLEEP = "it begins anew on every replay: use `ctx.sleep`"
_USE_NOW = "it is another time on every replay: use `ctx.now`"
_USE_UUID = "it is another one on every replay: use `ctx.uuid`"
_USE_RANDOM = "it is another value on every replay: use `ctx.random`, or `ctx.side_effect`"

_UNSAFE: dict[Any, str] = {
    asyncio.wait: _USE_RACE,
    asyncio.as_completed: _USE_RACE,
    asyncio.wait_for: _USE_TIMEOUT,
    asyncio.timeout: _USE_TIMEOUT,
    asyncio.timeout_at: _USE_TIMEOUT,
    asyncio.sleep: _USE_SLEEP,
    time.sleep: "it stops every other run of the process: use `ctx.sleep`",
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
    """A call in a body that does nothing, or may do something else on a replay; `mend` says what to use."""

    file: str
    line: int
    call: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.call}: {self.mend}"


def unsafe_calls(body: Callable[..., Any]) -> list[Unsafe]:
    """The calls that are unsafe in the body of a workflow; none if its source cannot be read."""
    body = inspect.unwrap(body)
    try:
        lines, first = inspect.getsourcelines(body)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return []
    if len(tree.body) != 1:
        # Of a lambda that was typed in, Python 3.13 finds lines of another file.
        return []
    (function,) = tree.body
    names = {**getattr(body, "__globals__", {}), **inspect.getclosurevars(body).nonlocals}
    file = inspect.getsourcefile(body) or "?"
    found = [(call, _mend(call, _resolved(call.func, names))) for call in _calls(function)]
    found += [
        (call, f"nobody awaits it, so nothing is done: use `await {ast.unparse(call)}`") for call in _lost(function)
    ]
    return [
        Unsafe(file, first + call.lineno - 1, ast.unparse(call.func), mend)
        for call, mend in sorted(found, key=lambda each: each[0].lineno)
        if mend is not None
    ]


def _mend(call: ast.Call, target: Any) -> str | None:
    """What to use instead of a call of `target`; None if it is safe, as far as one can see."""
    if inspect.isfunction(target) and hasattr(target, STEP):
        return f"nothing is recorded, and every replay executes it: use `ctx.step({ast.unparse(call.func)}, ...)`"
    return _UNSAFE.get(target)


def _calls(function: ast.AST) -> Iterator[ast.Call]:
    return (node for node in _nodes(function) if isinstance(node, ast.Call))


def _lost(function: ast.AST) -> Iterator[ast.Call]:
    """Calls of the context that are statements by themselves."""
    parameters = function.args.posonlyargs + function.args.args if isinstance(function, ast.AsyncFunctionDef) else []
    context = next((each.arg for each in parameters if each.arg != "self"), None)
    for node in _nodes(function):
        if not isinstance(node, ast.Expr) or not isinstance(call := node.value, ast.Call):
            continue
        if isinstance(called := call.func, ast.Attribute) and isinstance(called.value, ast.Name):
            primitive = getattr(WorkflowContext, called.attr, None)
            if called.value.id == context and callable(primitive) and primitive is not WorkflowContext.continue_as_new:
                yield call


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What belongs to the body itself: a closure may be that of a step."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _nodes(child)


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """The function that `name`, `module.name` or `module.Class.name` stands for; None if it cannot be compared."""
    found = _looked_up(node, names)
    return found if callable(found) and type(found).__hash__ is not None else None


def _looked_up(node: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        holder = _looked_up(node.value, names)
        # Of modules and classes only: an attribute of an object may be computed.
        return getattr(holder, node.attr, None) if inspect.ismodule(holder) or inspect.isclass(holder) else None
    return None
