"""A generated package for the engine: its classes, its schema, and the files that `generate` added."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from prisma_inprocess.compiler.input_graph import InputGraph
from prisma_inprocess.compiler.plan_cache import PlanCache
from prisma_inprocess.compiler.query_compiler import QueryCompiler
from prisma_inprocess.date_format import DateColumns
from prisma_inprocess.drivers.base import Dialect
from prisma_inprocess.errors import EngineError, GenerationError

ENGINE_FOLDER: Final = "_engine"
GRAPH_FILE: Final = "graph.json"
DATAMODEL_FILE: Final = "datamodel.prisma"
COMPILER_FILE: Final = "query_compiler.wasm"


class ModelReader(Protocol):
    """The parts of the client's query builder that know its models."""

    def get_default_fields(self, model: Any) -> list[str]: ...

    def get_relational_model(self, current_model: Any, field: str) -> Any: ...


@dataclass(slots=True)
class GeneratedPackage:
    """A generated client package. A client written to a folder of its own has its own copy of every class, so each is
    passed in.

    Attributes:
        root: The package's folder.
        provider: `postgresql` or `sqlite`.
        json_type: Its `Json` class.
        base64_type: Its `Base64` class.
        raise_error: Its function that raises an engine's error response as one of its own exceptions.
        models: Its knowledge of its models.
    """

    root: Path
    provider: str
    json_type: type[Any]
    base64_type: type[Any]
    raise_error: Callable[[Any, Any], NoReturn]
    models: ModelReader
    _graph: InputGraph | None = None
    _caches: dict[tuple[Dialect, str | None], PlanCache] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def graph(self) -> InputGraph:
        """The schema's input graph, read at first use."""
        if self._graph is None:
            data: Mapping[str, Any] = json.loads(self._read(GRAPH_FILE))
            self._graph = InputGraph(data)
        return self._graph

    @property
    def date_columns(self) -> DateColumns:
        """The columns that hold dates. Raises: GenerationError."""
        return DateColumns.of_graph(self.root, self.graph.data)

    def plan_cache(self, dialect: Dialect, schema_name: str | None, size: int) -> PlanCache:
        """The plans for tables in one database schema with one kind of conversions, shared by all clients of this
        package; the largest size asked for counts.
        """
        key = (dialect, schema_name)
        with self._lock:
            cache = self._caches.get(key)
            if cache is None:
                cache = self._caches[key] = PlanCache(lambda: self._make_compiler(schema_name), dialect, size)
            cache.size = max(cache.size, size)
            return cache

    def failure(self, error: EngineError) -> Exception:
        """The client's own exception for an engine's error, with the same attributes."""
        try:
            self.raise_error(None, [error.response()])
        except Exception as failure:
            # Set one by one: the client's own classes do not take them, and some keep neither code nor meta.
            attributes: Any = failure
            attributes.code, attributes.meta = error.code, error.meta
            attributes.fault, attributes.retryable, attributes.in_doubt = error.fault, error.retryable, error.in_doubt
            attributes.database_code = error.database_code
            return failure

    def _make_compiler(self, schema_name: str | None) -> QueryCompiler:
        return QueryCompiler(
            self.root / ENGINE_FOLDER / COMPILER_FILE, self._read(DATAMODEL_FILE), self.provider, schema_name
        )

    def _read(self, name: str) -> str:
        try:
            return (self.root / ENGINE_FOLDER / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise GenerationError(
                f"{self.root / ENGINE_FOLDER / name} is missing. Run `python -m prisma_inprocess generate` again"
            ) from None
