"""Prisma's schema engine, which plans and runs migrations, as WebAssembly in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prisma_inprocess.errors import MigrationError, PrismaInProcessError
from prisma_inprocess.migrate.adapter import Adapter
from prisma_inprocess.migrate.database import Database, DatabaseFailure
from prisma_inprocess.wasm.bindgen import BindgenInstance, WasmFailure
from prisma_inprocess.wasm.javascript import JsError, get_property, to_javascript, to_python
from prisma_inprocess.wasm.jobs import Rejected
from prisma_inprocess.wasm.module_cache import load_module, new_engine

SchemaFiles = Sequence[tuple[str, str]]
# Prisma's own messages end with a trace of its functions.
_TRACE: Final = "\n   0: "


class MigrationEngine:
    """The engine on one database. Its methods are called one after the other.

    After a panic the module's memory cannot be trusted, so the next command gets a new instance.

    Args:
        wasm_file: `schema_engine_bg.wasm` of the npm package `@prisma/schema-engine-wasm`.
        database: The database.
        schema: Names and texts of the schema's files, without the URLs of the datasource.
    """

    def __init__(self, wasm_file: Path, database: Database, schema: SchemaFiles) -> None:
        self._engine = new_engine()
        self._module = load_module(self._engine, wasm_file)
        self._database = database
        self._schema = schema
        self._running: tuple[BindgenInstance, Adapter, int] | None = None

    async def run(self, command: str, parameters: Mapping[str, Any]) -> Any:
        """Run one of the engine's commands, such as `applyMigrations`. Returns what it found, as plain data.

        Raises:
            MigrationError: the engine refused, or failed, with Prisma's code where it has one.
        """
        return await self._call(command, to_javascript(parameters))

    async def panic(self) -> None:
        """Have the engine panic, to see what happens then. Raises: MigrationError."""
        await self._call("debugPanic")

    async def _call(self, command: str, *arguments: Any) -> Any:
        if self._running is None:
            self._running = await self._start()
        instance, adapter, pointer = self._running
        adapter.failure = adapter.defect = None
        try:
            promise = instance.call(f"schemaengine_{command}", pointer, *arguments)
            return to_python(await instance.jobs.result(promise))
        except asyncio.CancelledError:
            # The statement that is under way is cancelled with its command, which the engine will never end.
            self._running = None
            await instance.jobs.cancel()
            await adapter.close()
            raise
        except WasmFailure as failure:
            self._running = None
            await adapter.close()
            raise MigrationError(
                "Prisma's schema engine panicked, which is a defect in it: " + str(failure.value).partition("\n")[0],
                details=str(failure.value),
            ) from failure
        except Rejected as rejected:
            raise _error(rejected.value, adapter) from rejected

    async def close(self) -> None:
        """Give the engine up. The connection stays open."""
        if self._running is not None:
            instance, adapter, pointer = self._running
            self._running = None
            with contextlib.suppress(WasmFailure):  # a command that was broken off still holds it
                instance.call("__wbg_schemaengine_free", pointer, 0)
            await instance.jobs.close()
            await adapter.close()

    async def _start(self) -> tuple[BindgenInstance, Adapter, int]:
        instance = BindgenInstance(self._engine, self._module)
        adapter = Adapter(self._database, instance.jobs)
        options = {"datamodels": [list(file) for file in self._schema]} if self._schema else {}
        promise = instance.call("schemaengine_new", to_javascript(options), _ignore_log, adapter.factory())
        try:
            pointer = await instance.jobs.result(promise)
        except (Rejected, WasmFailure) as error:
            raise _error(error.value, adapter) from error
        return instance, adapter, int(pointer)


def _ignore_log(*_: Any) -> None:
    """The engine logs every statement that it runs."""


def _error(reason: Any, adapter: Adapter) -> MigrationError:
    """Return the error with which the engine rejected a promise."""
    if isinstance(adapter.defect, PrismaInProcessError):
        raise adapter.defect
    if adapter.defect is not None:
        return MigrationError(f"a defect in prisma_inprocess: {adapter.defect!r}")
    text = reason.message if isinstance(reason, JsError) else str(get_property(reason, "message"))
    code = get_property(reason, "code")
    failure: DatabaseFailure | None = adapter.failure
    return MigrationError(
        text.partition(_TRACE)[0].strip(),
        code if isinstance(code, str) else None,
        details=failure.message if failure is not None else "",
    )
