"""Prisma's query compiler: a request in the JSON protocol becomes a query plan."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

from prisma_inprocess.errors import EngineError, GenerationError
from prisma_inprocess.wasm.bindgen import BindgenInstance, WasmFailure
from prisma_inprocess.wasm.javascript import to_python
from prisma_inprocess.wasm.module_cache import load_module, new_engine

# The compiler's names, if they differ from those in the schema.
_PROVIDER_NAMES = {"postgresql": "postgres"}
# The compiler quotes a value that it refuses. Messages end up in logs, which must not contain values.
_VALUE = re.compile(r"Invalid argument value\. `.*?` is not a valid `", re.DOTALL)


class QueryCompiler:
    """Compiles requests for one schema. Thread-safe: calls take turns.

    Args:
        wasm_file: The query compiler built for the provider.
        datamodel: Text of the schema, without the URL of its datasource.
        provider: The datasource's provider, `postgresql` or `sqlite`.
        schema_name: The database schema that unqualified tables live in, or None for the database's default.

    Raises:
        GenerationError: The wasm file is missing or not the version that this package was written for, or the schema
        is refused.
    """

    def __init__(self, wasm_file: Path, datamodel: str, provider: str, schema_name: str | None = None) -> None:
        self._lock = threading.Lock()
        self._engine = new_engine()
        try:
            self._module = load_module(self._engine, wasm_file)
        except FileNotFoundError:
            raise GenerationError(f"the query compiler {wasm_file} is missing. Generate the client again") from None
        connection_info: dict[str, Any] = {"supportsRelationJoins": False}
        if schema_name is not None:
            # The compiler puts the name between quotes without escaping it.
            connection_info["schemaName"] = schema_name.replace('"', '""')
        self._parameters = {
            "datamodel": datamodel,
            "provider": _PROVIDER_NAMES.get(provider, provider),
            "connectionInfo": connection_info,
        }
        self._running: tuple[BindgenInstance, int] | None = self._start()

    def compile(self, request: str) -> Any:
        """Compile one request (JSON text) into a plan (plain data).

        Raises: EngineError with Prisma's code when the request does not fit the schema.
        """
        with self._lock:
            if self._running is None:
                self._running = self._start()
            instance, pointer = self._running
            try:
                plan, error, failed = instance.call("querycompiler_compile", pointer, *instance.write_text(request))
                if not failed:
                    return to_python(instance.take(plan))
                thrown = to_python(instance.take(error))
            except WasmFailure as failure:
                # After a panic the module's memory cannot be trusted: the next request gets a new instance.
                self._running = None
                raise EngineError(f"The query compiler failed: {failure.value}", "P2009") from failure
        raise _as_engine_error(thrown)

    def _start(self) -> tuple[BindgenInstance, int]:
        instance = BindgenInstance(self._engine, self._module)
        pointer, error, failed = instance.call("querycompiler_new", self._parameters)
        if failed:
            raise GenerationError(f"the query compiler refused the schema: {instance.take(error)}")
        return instance, int(pointer)


def _as_engine_error(thrown: Any) -> EngineError:
    if isinstance(thrown, str):
        try:
            thrown = json.loads(thrown)
        except ValueError:
            return EngineError(thrown, "P2009")
    if isinstance(thrown, dict):
        message = _VALUE.sub("Invalid argument value. It is not a valid `", str(thrown.get("message", thrown)))
        return EngineError(message, thrown.get("code"), thrown.get("meta"))
    return EngineError(str(thrown), "P2009")
