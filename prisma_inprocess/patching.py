"""The lines of a generated package that are changed so that it runs on the in-process engine.

Prisma Client Python is archived, so its output does not change any more; still, each change is checked to apply
exactly once, and generation fails loudly if it does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from prisma_inprocess.errors import GenerationError

_BINDING: Final = '''\
"""Binds this generated client to the in-process engine. Written by `python -m prisma_inprocess generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, Type

from pydantic import BaseModel

from prisma_inprocess.client import GeneratedPackage, InProcessEngine, Operation

from . import fields
from ._base_client import AsyncBasePrisma as _AsyncBasePrisma
from ._builder import QueryBuilder
from ._types import PrismaMethod, TransactionId
from .engine import AsyncAbstractEngine
from .engine.utils import handle_response_errors
from .metadata import PRISMA_MODELS, RELATIONAL_FIELD_MAPPINGS

PACKAGE = GeneratedPackage(
    root=Path(__file__).parent,
    provider={provider!r},
    json_type=fields.Json,
    base64_type=fields.Base64,
    raise_error=handle_response_errors,
    models=QueryBuilder(
        method='find_many',
        arguments={{}},
        prisma_models=PRISMA_MODELS,
        relational_field_mappings=RELATIONAL_FIELD_MAPPINGS,
    ),
)


class Engine(InProcessEngine, AsyncAbstractEngine):  # type: ignore[misc]
    """The in-process engine as this package's client knows engines."""


class AsyncBasePrisma(_AsyncBasePrisma):
    __slots__ = ()

    def _create_engine(self, dml_path: Optional[Path] = None) -> AsyncAbstractEngine:
        return Engine(PACKAGE, default_url=lambda: self._default_datasource['url'], log_queries=self._log_queries)

    @property
    def _engine_class(self) -> Type[AsyncAbstractEngine]:
        return Engine

    async def _execute(
        self,
        *,
        method: PrismaMethod,
        arguments: dict[str, Any],
        model: Optional[Type[BaseModel]] = None,
        root_selection: Optional[List[str]] = None,
    ) -> Any:
        engine: Any = self._engine
        return await engine.run(Operation(method, arguments, model, root_selection), tx_id=self._tx_id)

    async def _execute_batch(self, operations: List[Operation]) -> None:
        engine: Any = self._engine
        await engine.run_batch(operations, tx_id=self._tx_id)


__all__ = ('AsyncBasePrisma', 'Engine', 'Operation', 'PACKAGE', 'TransactionId')
'''

_CLIENT_CHANGES: Final = (
    (
        "from ._base_client import SyncBasePrisma, AsyncBasePrisma, load_env as load_env\n",
        "from ._base_client import load_env as load_env\nfrom ._inprocess import AsyncBasePrisma, Operation\n",
    ),
    ("        self.__queries: List[str] = []\n", "        self.__queries: List[Operation] = []\n"),
    (
        """\
        builder = QueryBuilder(
            **kwargs,
            prisma_models=PRISMA_MODELS,
            relational_field_mappings=RELATIONAL_FIELD_MAPPINGS,
        )
        self.__queries.append(builder.build_query())
""",
        "        self.__queries.append(Operation(**kwargs))\n",
    ),
    (
        """\
        payload = {
            'batch': [
                {
                    'query': query,
                    'variables': {},
                }
                for query in queries
            ],
            'transaction': True,
        }
        await self.__client._engine.query(
            dumps(payload),
            tx_id=self.__client._tx_id,
        )
""",
        "        await self.__client._execute_batch(queries)\n",
    ),
)


def patch_package(root: Path, provider: str) -> None:
    """Make a freshly generated package use the in-process engine. Raises: GenerationError if it does not look as
    expected.
    """
    (root / "_inprocess.py").write_text(_BINDING.format(provider=provider), encoding="utf-8")
    client = root / "client.py"
    text = client.read_text(encoding="utf-8")
    for old, new in _CLIENT_CHANGES:
        if text.count(old) != 1:
            raise GenerationError(
                f"the generated client.py does not contain once:\n{old}"
                "is another version of `prisma` installed than 0.15.0?"
            )
        text = text.replace(old, new)
    client.write_text(text, encoding="utf-8")
