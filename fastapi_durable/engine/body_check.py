"""What a workflow's body should not await, found in its source when the application starts.

On a replay, everything that is recorded comes at once, so who wins a race of `asyncio.wait` or runs into
`asyncio.timeout` may be somebody else than the first time; and a body that sleeps outside of its context holds the run
in memory, and begins again on every replay. Only the body itself is read, not what it calls: the check warns, and
proves nothing.
"""

import ast
import asyncio
import inspect
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_USE_RACE = "which branch comes first may differ on a replay: use `ctx.race`"
_USE_TIMEOUT = "whether it runs out may differ on a replay: use `timeout=` of the call, or `ctx.race` with `ctx.sleep`"
_USE_SLEEP = "it begins anew on every replay: use `ctx.sleep`"

_UNSAFE: dict[Any, str] = {
    asyncio.wait: _USE_RACE,
    asyncio.as_completed: _USE_RACE,
    asyncio.wait_for: _USE_TIMEOUT,
    asyncio.timeout: _USE_TIMEOUT,
    asyncio.timeout_at: _USE_TIMEOUT,
    asyncio.sleep: _USE_SLEEP,
    time.sleep: "it stops every other run of the process: use `ctx.sleep`",
}


@dataclass(frozen=True, slots=True)
class Unsafe:
    """A call in a body that may do something else on a replay; `mend` says what to use."""

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
    names = {**getattr(body, "__globals__", {}), **inspect.getclosurevars(body).nonlocals}
    file = inspect.getsourcefile(body) or "?"
    return [
        Unsafe(file, first + call.lineno - 1, ast.unparse(call.func), _UNSAFE[target])
        for call in _calls(tree.body[0])
        if (target := _resolved(call.func, names)) in _UNSAFE
    ]


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls of the body itself: a closure may be that of a step."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _calls(child)


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """The function that `name` or `module.name` stands for; None if it is neither, or cannot be compared."""
    if isinstance(node, ast.Name):
        found = names.get(node.id)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        found = getattr(names.get(node.value.id), node.attr, None)
    else:
        return None
    return found if callable(found) and type(found).__hash__ is not None else None
