"""Values inside a plan: constants, placeholders, calls of generators."""

# ruff: noqa: ARG005 (every value is a function of one run and one scope, whether it looks at them or not)

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any, cast

from prisma_inprocess.drivers.base import Reader, Session
from prisma_inprocess.errors import EngineError
from prisma_inprocess.plan import generators

Scope = dict[str, Any]


class Run:
    """One execution of a plan: the session it uses and what must stay the same throughout."""

    __slots__ = ("_now", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self._now: dt.datetime | None = None

    def now(self) -> dt.datetime:
        """The current time, the same for every `now()` of one operation."""
        if self._now is None:
            current = dt.datetime.now(dt.UTC)
            self._now = current.replace(microsecond=current.microsecond // 1000 * 1000)
        return self._now

    def within(self, session: Reader) -> Run:
        """The same execution on another session, or on a reader where nothing but reads is left to do."""
        inner = Run(cast(Session, session))
        inner._now = self._now
        return inner


Value = Callable[[Run, Scope], Any]


def compile_value(raw: Any) -> Value:
    """A function that evaluates one value of a plan."""
    if isinstance(raw, dict):
        kind = raw.get("prisma__type")
        if kind == "param":
            name = raw["prisma__value"]["name"]
            return lambda run, scope: scope[name]
        if kind == "generatorCall":
            call = raw["prisma__value"]
            return _compile_call(call["name"], [compile_value(argument) for argument in call["args"]], call["args"])
        if kind == "bytes":
            content = base64.b64decode(raw["prisma__value"])
            return lambda run, scope: content
        if kind is not None:
            constant = raw["prisma__value"]
            return lambda run, scope: constant
    if isinstance(raw, list):
        if not any(isinstance(item, (dict, list)) for item in raw):
            return lambda run, scope: list(raw)
        items = [compile_value(item) for item in raw]
        return lambda run, scope: [item(run, scope) for item in items]
    return lambda run, scope: raw


def _compile_call(name: str, arguments: list[Value], raw_arguments: list[Any]) -> Value:
    if name == "now":
        return lambda run, scope: run.now()
    if name == "product":
        left, right = arguments
        return lambda run, scope: _product(left(run, scope), right(run, scope))
    make = generators.find(name, raw_arguments)
    if make is None:
        raise EngineError(f"The generator {name}({', '.join(map(str, raw_arguments))}) is not supported", "P2009")
    return lambda run, scope: make()


def _product(left: Any, right: Any) -> list[list[Any]]:
    lefts = left if isinstance(left, list) else [left]
    rights = right if isinstance(right, list) else [right]
    return [[one, other] for one in lefts for other in rights]
