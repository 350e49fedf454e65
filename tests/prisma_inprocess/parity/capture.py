"""Run operations on this engine, and keep what the official runtime needs to repeat them."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import orjson

import prisma_inprocess.operation
from prisma_inprocess import EngineError
from prisma_inprocess.operation import Operation
from prisma_inprocess.request import RequestBuilder
from tests.prisma_inprocess.workbench import Rich

# A label, and a function of the connected client.
LabelledCall = tuple[str, Callable[[Any], Awaitable[Any]]]


class LiteralBuilder(RequestBuilder):
    """Builds the request that the official client would send: with values in the place of placeholders."""

    def _placeholder(self, value: Any, kind: str, inner: str | None = None) -> Any:
        if inner is not None:
            return [self._placeholder(item, inner) for item in value]
        if kind == "Enum":
            names = {stored: name for enum in self._graph.data["enums"].values() for name, stored in enum.items()}
            return names[value]
        if isinstance(value, dt.datetime):
            return {"$type": "DateTime", "value": value.isoformat().replace("+00:00", "Z")}
        if isinstance(value, Decimal):
            return {"$type": "Decimal", "value": str(value)}
        if isinstance(value, bytes):
            return {"$type": "Bytes", "value": base64.b64encode(value).decode()}
        if kind == "Json":
            return {"$type": "Json", "value": value}
        if kind == "BigInt":
            return {"$type": "BigInt", "value": str(value)}
        return value


async def capture(rich: Rich, operations: Iterable[LabelledCall]) -> list[dict[str, Any]]:
    """Run operations in their order, and return a record of each one that reached the engine."""
    records: list[dict[str, Any]] = []
    async with rich.client() as db:
        engine = db._engine
        compiler = engine._package._make_compiler(None)
        original = engine._run

        label = ""  # of the operation that runs; the engine sees only its call

        async def capturing(operation: Operation, session: Any) -> Any:
            record: dict[str, Any] = {"label": label, "plan": None, "error": None, "result": None, "raised": None}
            records.append(record)
            with patch.object(prisma_inprocess.operation, "RequestBuilder", LiteralBuilder):
                record["literal"] = engine._encoder.encode(operation)[0]
            record["request"] = engine._encoder.encode(operation)[0]
            try:
                record["plan"] = compiler.compile(orjson.dumps(record["request"]).decode())
                record["result"] = await original(operation, session)
            except EngineError as error:
                record["error"] = {"code": error.code, "message": error.message, "meta": error.meta}
                raise
            return record["result"]

        engine._run = capturing
        for name, operation in operations:
            label = name
            done = len(records)
            try:
                await operation(db)
            except rich.errors.PrismaError:
                if len(records) > done and "request" not in records[-1]:
                    raise  # the arguments are refused before there is a request
            except Exception as error:
                if len(records) == done:
                    raise
                # The client cannot use the engine's answer.
                records[-1]["raised"] = repr(error)
    return records
