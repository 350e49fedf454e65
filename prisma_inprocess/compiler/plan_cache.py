"""A cache of plans by the shape of their request. Each is compiled once, outside the event loop. The least recently
used plans are dropped first."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import orjson

from prisma_inprocess.compiler.query_compiler import QueryCompiler
from prisma_inprocess.drivers.base import Dialect
from prisma_inprocess.plan.bulk_insert import BulkInsert, compile_bulk_insert
from prisma_inprocess.plan.nodes import Plan, compile_plan


class PlanCache:
    """The plans of one schema, shared by all clients of a generated package in this process. Safe for threads and event
    loops.

    Args:
        make_compiler: Builds the query compiler. Called at the first miss, because it takes time.
        dialect: Conversions that the plans use.
        size: How many plans are kept.
    """

    def __init__(self, make_compiler: Callable[[], QueryCompiler], dialect: Dialect, size: int) -> None:
        self._make_compiler = make_compiler
        self._dialect = dialect
        self.size = size
        self._plans: OrderedDict[bytes, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._compiler: QueryCompiler | None = None
        self._compiler_lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    async def plan(self, request: dict[str, Any]) -> Plan:
        """The plan for a request whose values are placeholders. Raises: EngineError when it does not fit the schema."""
        plan: Plan = await self._get(b"", request, compile_plan)
        return plan

    async def bulk_insert(self, request: dict[str, Any]) -> BulkInsert | None:
        """The plan for any number of rows like the one of a `createMany` request, or None if there is none.

        Raises: EngineError when the request does not fit the schema.
        """
        plan: BulkInsert | None = await self._get(b"bulk:", request, compile_bulk_insert)
        return plan

    async def _get(self, kind: bytes, request: dict[str, Any], build: Callable[[Any, Dialect], Any]) -> Any:
        text = orjson.dumps(request)
        key = kind + text
        with self._lock:
            if key in self._plans:
                self._plans.move_to_end(key)
                self.hits += 1
                return self._plans[key]
            self.misses += 1
        return await asyncio.to_thread(self._compile, key, text.decode(), build)

    def warm_up(self) -> None:
        """Load the compiler now rather than at the first query."""
        with self._compiler_lock:
            self._loaded_compiler()

    def _loaded_compiler(self) -> QueryCompiler:
        if self._compiler is None:
            self._compiler = self._make_compiler()
        return self._compiler

    def __len__(self) -> int:
        return len(self._plans)

    def _compile(self, key: bytes, text: str, build: Callable[[Any, Dialect], Any]) -> Any:
        with self._compiler_lock:
            compiler = self._loaded_compiler()
            # Another call may have compiled the same shape while this one waited.
            with self._lock:
                if key in self._plans:
                    return self._plans[key]
            plan = build(compiler.compile(text), self._dialect)
            with self._lock:
                self._plans[key] = plan
                while len(self._plans) > self.size:
                    self._plans.popitem(last=False)
            return plan
