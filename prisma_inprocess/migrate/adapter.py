"""A Python database as the schema engine's JavaScript adapter.

The engine calls methods of plain objects, and expects promises of `{ok: true, value}` or `{ok: false, error}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from prisma_inprocess.migrate.database import Connection, Database, DatabaseFailure
from prisma_inprocess.wasm.javascript import to_javascript, to_python
from prisma_inprocess.wasm.jobs import Jobs, Promise

_NAME: Final = "prisma-inprocess"
_GENERIC: Final = {"kind": "GenericJs", "id": 0}


class Adapter:
    """The engine's way to one database.

    Args:
        database: The database. Its connection stays open when the engine gives it up.
        jobs: The jobs of the engine's instance.

    Attributes:
        failure: The last failure of the database, which the engine's own message may leave out.
        defect: The last error in this package's code, or in reaching a shadow database.
    """

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self.failure: DatabaseFailure | None = None
        self.defect: Exception | None = None
        self._database = database
        self._jobs = jobs
        self._shadows: list[Connection] = []

    def factory(self) -> dict[str, Any]:
        """The object that the engine is made with."""
        return {
            "provider": self._database.provider,
            "adapterName": _NAME,
            "connect": self._method(self._connect),
            "connectToShadowDb": self._method(self._connect_to_shadow),
        }

    async def _connect(self, *_: Any) -> dict[str, Any]:
        return self._driver(self._database.connection, _nothing)

    async def _connect_to_shadow(self, *_: Any) -> dict[str, Any]:
        shadow = await self._database.open_shadow()
        self._shadows.append(shadow)

        async def dispose() -> None:
            self._shadows.remove(shadow)
            await shadow.close()

        return self._driver(shadow, dispose)

    async def close(self) -> None:
        """Close the shadow databases that an interrupted engine has left open."""
        while self._shadows:
            await self._shadows.pop().close()

    def _driver(self, connection: Connection, dispose: Callable[[], Awaitable[None]]) -> dict[str, Any]:
        async def query(statement: dict[str, Any]) -> dict[str, Any]:
            found = await connection.query(statement["sql"], statement["args"])
            return {"columnNames": found.names, "columnTypes": found.types, "rows": found.rows}

        async def execute(statement: dict[str, Any]) -> int:
            return await connection.execute(statement["sql"], statement["args"])

        return {
            "provider": self._database.provider,
            "adapterName": _NAME,
            "queryRaw": self._method(query),
            "executeRaw": self._method(execute),
            "executeScript": self._method(connection.run_script),
            "startTransaction": self._method(_refuse_transaction),
            "dispose": self._method(lambda *_: dispose()),
            "getConnectionInfo": lambda *_: _ok(self._connection_info()),
        }

    def _connection_info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"supportsRelationJoins": False}
        if self._database.schema_name is not None:
            info["schemaName"] = self._database.schema_name
        return info

    def _method(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Promise]:
        async def call(argument: Any) -> dict[str, Any]:
            try:
                return _ok(await function(to_python(argument)))
            except DatabaseFailure as failure:
                self.failure = failure
                return {"ok": False, "error": to_javascript(failure.payload)}
            except Exception as error:
                self.defect = error
                return {"ok": False, "error": dict(_GENERIC)}

        return lambda *arguments: self._jobs.promise_of(call(arguments[0] if arguments else None))


def _ok(value: Any) -> dict[str, Any]:
    # A driver is handed over as it is: its methods are functions.
    return {"ok": True, "value": to_javascript(value)}


async def _nothing() -> None:
    """The real connection outlives the engine: it holds the lock."""


async def _refuse_transaction(*_: Any) -> Any:
    raise NotImplementedError("the schema engine begins no transaction by itself")
