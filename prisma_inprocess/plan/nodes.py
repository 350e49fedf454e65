"""Plan nodes as Python functions.

A node is either pure (it only works on values) or it touches the database. Pure work around one database call is
folded into the call's function, so that the usual plan (map the rows of one statement) costs a single `await`.
"""

# ruff: noqa: ARG001, ARG005 (every node is a function of one run and one scope, whether it looks at them or not)

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from prisma_inprocess.drivers.base import Dialect, Driver
from prisma_inprocess.errors import EngineError, Fault
from prisma_inprocess.plan.data_map import compile_data_map
from prisma_inprocess.plan.early_mapping import map_early
from prisma_inprocess.plan.records import (
    JoinChild,
    Operations,
    as_list,
    difference,
    is_empty,
    joined,
    map_field,
    some_of,
)
from prisma_inprocess.plan.rules import holds, violation
from prisma_inprocess.plan.sql import Statement, compile_statement, reads
from prisma_inprocess.plan.values import Run, Scope, compile_value

Plan = Callable[[Run, Scope], Coroutine[Any, Any, Any]]
Transform = Callable[[Any, Run, Scope], Any]
T = TypeVar("T")


def compile_plan(raw: Any, dialect: Dialect) -> Plan:
    """A function that runs a plan. Raises: EngineError for a node that this version does not know."""
    compiler = _Compiler(dialect)
    plan = compiler.node(raw)
    if compiler.changes or compiler.queries < 2:
        return plan

    async def read_together(run: Run, scope: Scope) -> Any:
        return await run.session.read_together(lambda reader: plan(run.within(reader), scope))

    return read_together


class _Compiler:
    """Compiles one plan.

    Attributes:
        queries: How many statements with rows it has.
        changes: Whether it changes anything.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.queries = 0
        self.changes = False
        self._dialect = dialect
        self._to_moment = dialect.decoder("datetime") or _unchanged

    def node(self, raw: dict[str, Any]) -> Plan:
        # Nodes with one input that only transform its value are peeled off first and applied in one go.
        transforms: list[Transform] = []
        while True:
            peeled = self._peel(raw)
            if peeled is None:
                break
            raw, transform = peeled
            transforms.append(transform)
        base = self._base(raw)
        if not transforms:
            return base
        if len(transforms) == 1:
            only = transforms[0]

            async def transformed(run: Run, scope: Scope) -> Any:
                return only(await base(run, scope), run, scope)

            return transformed
        ordered = transforms[::-1]

        async def transformed_often(run: Run, scope: Scope) -> Any:
            value = await base(run, scope)
            for transform in ordered:
                value = transform(value, run, scope)
            return value

        return transformed_often

    def _peel(self, raw: dict[str, Any]) -> tuple[dict[str, Any], Transform] | None:
        kind = raw["type"]
        arguments: Any = raw.get("args")
        if kind == "dataMap":
            expression, structure = map_early(arguments["expr"], arguments["structure"], arguments["enums"])
            mapper = compile_data_map(structure, arguments["enums"], self._dialect)
            return expression, lambda value, run, scope: mapper(value)
        if kind == "unique":
            return arguments, _unique
        if kind == "reverse":
            return arguments, _reversed
        if kind == "required":
            return arguments, _required
        if kind == "mapField":
            field = arguments["field"]
            return arguments["records"], lambda value, run, scope: map_field(value, field)
        if kind == "validate":
            return arguments["expr"], _validator(arguments)
        if kind == "process":
            operations = Operations.compile(arguments["operations"], self._to_moment)
            return arguments["expr"], operations.apply
        if kind == "initializeRecord":
            return arguments["expr"], _record_initializer(arguments["fields"])
        if kind == "mapRecord":
            return arguments["expr"], _record_mapper(arguments["fields"])
        return None

    def _base(self, raw: dict[str, Any]) -> Plan:
        builder = getattr(self, f"_node_{raw['type']}", None)
        if builder is None:
            raise EngineError(f"The query plan has a node {raw['type']!r} that this version does not know", "P2009")
        plan: Plan = builder(raw.get("args"))
        return plan

    def _node_query(self, arguments: dict[str, Any]) -> Plan:
        render = compile_statement(arguments, self._dialect)
        self.queries += 1
        self.changes |= not reads(arguments)

        async def query(run: Run, scope: Scope) -> Any:
            statements = render(run, scope)
            if len(statements) == 1:
                return await run.session.fetch(*statements[0])
            return await in_transaction(run, lambda inner: _fetch_all(inner, statements))

        return query

    def _node_execute(self, arguments: dict[str, Any]) -> Plan:
        render = compile_statement(arguments, self._dialect)
        self.changes = True

        async def execute(run: Run, scope: Scope) -> Any:
            statements = render(run, scope)
            if len(statements) == 1:
                return await run.session.execute(*statements[0])
            return await in_transaction(run, lambda inner: execute_all(inner, statements))

        return execute

    def _node_value(self, arguments: Any) -> Plan:
        evaluate = compile_value(arguments)

        async def value(run: Run, scope: Scope) -> Any:
            return evaluate(run, scope)

        return value

    def _node_unit(self, _: Any) -> Plan:
        async def unit(run: Run, scope: Scope) -> Any:
            return None

        return unit

    def _node_get(self, arguments: dict[str, Any]) -> Plan:
        name = arguments["name"]

        async def get(run: Run, scope: Scope) -> Any:
            return scope[name]

        return get

    def _node_getFirstNonEmpty(self, arguments: dict[str, Any]) -> Plan:  # noqa: N802 (named as the plan's node)
        names = arguments["names"]

        async def first_non_empty(run: Run, scope: Scope) -> Any:
            return next((scope[name] for name in names if not is_empty(scope[name])), [])

        return first_non_empty

    def _node_seq(self, arguments: list[Any]) -> Plan:
        steps = [self.node(item) for item in arguments]

        async def sequence(run: Run, scope: Scope) -> Any:
            value = None
            for step in steps:
                value = await step(run, scope)
            return value

        return sequence

    def _node_let(self, arguments: dict[str, Any]) -> Plan:
        bindings = [(binding["name"], self.node(binding["expr"])) for binding in arguments["bindings"]]
        body = self.node(arguments["expr"])

        async def let(run: Run, scope: Scope) -> Any:
            inner = dict(scope)
            for name, expression in bindings:
                inner[name] = await expression(run, inner)
            return await body(run, inner)

        return let

    def _node_concat(self, arguments: list[Any]) -> Plan:
        parts = [self.node(item) for item in arguments]

        async def concat(run: Run, scope: Scope) -> Any:
            return [item for part in parts for item in as_list(await part(run, scope))]

        return concat

    def _node_sum(self, arguments: list[Any]) -> Plan:
        parts = [self.node(item) for item in arguments]

        async def total(run: Run, scope: Scope) -> Any:
            return sum([await part(run, scope) for part in parts])

        return total

    def _node_if(self, arguments: dict[str, Any]) -> Plan:
        value, rule = self.node(arguments["value"]), arguments["rule"]
        then, otherwise = self.node(arguments["then"]), self.node(arguments["else"])

        async def branch(run: Run, scope: Scope) -> Any:
            chosen = then if holds(await value(run, scope), rule) else otherwise
            return await chosen(run, scope)

        return branch

    def _node_diff(self, arguments: dict[str, Any]) -> Plan:
        left, right, fields = self.node(arguments["from"]), self.node(arguments["to"]), arguments["fields"]

        async def diff(run: Run, scope: Scope) -> Any:
            return difference(await left(run, scope), await right(run, scope), fields)

        return diff

    def _node_join(self, arguments: dict[str, Any]) -> Plan:
        parent = self.node(arguments["parent"])
        strict = bool(arguments.get("canAssumeStrictEquality"))
        children = [(self.node(child["child"]), self._join_child(child)) for child in arguments["children"]]

        async def join(run: Run, scope: Scope) -> Any:
            found = await parent(run, scope)
            if found is None:
                return None
            parents = found if isinstance(found, list) else [found]
            for expression, child in children:
                parents = joined(parents, child, await expression(run, scope), strict=strict)
            return parents if isinstance(found, list) else parents[0]

        return join

    def _join_child(self, child: dict[str, Any]) -> JoinChild:
        data_map = child.get("dataMap")
        make = (
            as_list if data_map is None else compile_data_map(data_map["structure"], data_map["enums"], self._dialect)
        )
        on = [(one, other) for one, other in child["on"]]
        return JoinChild(on, child["parentField"], bool(child["isRelationUnique"]), make)

    def _node_transaction(self, arguments: dict[str, Any]) -> Plan:
        body = self.node(arguments)
        self.changes = True

        async def transaction(run: Run, scope: Scope) -> Any:
            return await in_transaction(run, lambda inner: body(inner, scope))

        return transaction


async def in_transaction(run: Run, body: Callable[[Run], Awaitable[T]]) -> T:
    """Run a function in the open transaction, or in a new one.

    In a new one, it is repeated once if a table was altered since a statement was prepared.
    """
    if run.session.in_transaction:
        return await body(run)
    try:
        return await _in_own_transaction(run, body)
    except EngineError as error:
        if error.fault is not Fault.PLAN_CHANGED or error.in_doubt:
            raise
    return await _in_own_transaction(run, body)


async def _in_own_transaction(run: Run, body: Callable[[Run], Awaitable[T]]) -> T:
    driver = cast(Driver, run.session)  # a session outside a transaction is the driver itself
    transaction = await driver.begin()
    try:
        result = await body(run.within(transaction))
    except BaseException:
        await transaction.rollback()
        raise
    await transaction.commit()
    return result


async def _fetch_all(run: Run, statements: list[Statement]) -> list[dict[str, Any]]:
    return [row for sql, arguments in statements for row in (await run.session.fetch(sql, arguments)).as_dicts()]


async def execute_all(run: Run, statements: list[Statement]) -> int:
    """Run statements one after the other and add up the rows they changed."""
    return sum([await run.session.execute(sql, arguments) for sql, arguments in statements])


def _unchanged(value: Any) -> Any:
    return value


def _unique(value: Any, run: Run, scope: Scope) -> Any:
    if not isinstance(value, list):
        return value
    if len(value) > 1:
        raise EngineError(f"Expected zero or one element, got {len(value)}", "P2023")
    return as_list(value)[0] if value else None


def _reversed(value: Any, run: Run, scope: Scope) -> Any:
    return some_of(value, reversed(value)) if isinstance(value, list) else value


def _required(value: Any, run: Run, scope: Scope) -> Any:
    if is_empty(value):
        raise EngineError("Required value is empty", "P2023")
    return value


def _validator(arguments: dict[str, Any]) -> Transform:
    rules, identifier, context = arguments["rules"], arguments["errorIdentifier"], arguments["context"]

    def validate(value: Any, run: Run, scope: Scope) -> Any:
        if not all(holds(value, rule) for rule in rules):
            raise violation(value, identifier, context)
        return value

    return validate


def _record_initializer(fields: dict[str, Any]) -> Transform:
    if any(field["type"] != "value" for field in fields.values()):
        # Both databases return new rows themselves; only others are asked for the last key.
        raise EngineError("The query plan asks for the last inserted key, which this version does not know", "P2009")
    compiled = {name: compile_value(field["value"]) for name, field in fields.items()}

    def initialize(value: Any, run: Run, scope: Scope) -> Any:
        return {name: get(run, scope) for name, get in compiled.items()}

    return initialize


def _record_mapper(fields: dict[str, Any]) -> Transform:
    compiled = [(name, field["type"], compile_value(field["value"])) for name, field in fields.items()]

    def map_record(value: Any, run: Run, scope: Scope) -> Any:
        record = dict(value or {})
        for name, operation, get in compiled:
            record[name] = _apply(operation, record.get(name), get(run, scope))
        return record

    return map_record


def _apply(operation: str, current: Any, operand: Any) -> Any:
    if operation == "set":
        return operand
    if operation == "add":
        return current + operand
    if operation == "subtract":
        return current - operand
    if operation == "multiply":
        return current * operand
    if operation == "divide":
        return current / operand if operand else None
    raise EngineError(f"The query plan has a field operation {operation!r} that this version does not know", "P2009")
