"""The lines of a generated package that are changed so that it runs on the in-process engine.

Prisma Client Python is archived, so its output does not change any more; still, each change is checked to apply
exactly once, and generation fails loudly if it does not.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from prisma_inprocess.model_building import LARGE
from prisma_inprocess.prisma_client_py import changed

_FILES: Final = Path(__file__).parent / "package_files"
# What a running client does not need: a command line, templates, a parser, and the drivers of a native engine's
# binaries.
_UNNEEDED: Final = ("cli", "generator", "_vendor", "__main__.py", "__pycache__")

# Users of `mypy --strict` get the client's types, but no errors inside the client, which they could not correct.
_NOT_JUDGED: Final = "# mypy: ignore-errors\n"

_CLIENT_CHANGES: Final = (
    (
        """\
from ._base_client import SyncBasePrisma, AsyncBasePrisma, load_env as load_env
""",
        """\
from ._base_client import load_env as load_env
from ._inprocess import AsyncBasePrisma, InProcessTransactionManager, IsolationLevel, Operation
""",
    ),
    (
        """\
        self.__queries: List[str] = []
""",
        """\
        self.__queries: List[Operation] = []
""",
    ),
    (
        """\
        builder = QueryBuilder(
            **kwargs,
            prisma_models=PRISMA_MODELS,
            relational_field_mappings=RELATIONAL_FIELD_MAPPINGS,
        )
        self.__queries.append(builder.build_query())
""",
        """\
        self.__queries.append(Operation(**kwargs))
""",
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
        """\
        await self.__client._execute_batch(queries)
""",
    ),
    (
        """\
        timeout: Union[int, timedelta] = DEFAULT_TX_TIMEOUT,
    ) -> TransactionManager:
""",
        """\
        timeout: Union[int, timedelta] = DEFAULT_TX_TIMEOUT,
        isolation_level: Optional[IsolationLevel] = None,
    ) -> TransactionManager:
""",
    ),
    (
        """\
            timeout=timeout,
        )


TransactionManager = AsyncTransactionManager[Prisma]
""",
        """\
            timeout=timeout,
            isolation_level=isolation_level,
        )


TransactionManager = InProcessTransactionManager[Prisma]
""",
    ),
)

_ERROR_CHANGES: Final = (
    (
        """\
from typing import Any, Optional
""",
        """\
from typing import Any, Optional

from prisma_inprocess.errors import Fault
""",
    ),
    (
        """\
class PrismaError(Exception):
    pass
""",
        """\
class PrismaError(Exception):
    code: Any = None
    meta: Any = None
    fault: Optional[Fault] = None
    retryable: bool = False
    in_doubt: bool = False
    database_code: Optional[str] = None
""",
    ),
    (
        """\
class TransactionError(PrismaError):
    pass
""",
        """\
class TransactionError(PrismaError):
    code: Any = 'P2028'
""",
    ),
    (
        """\
class ClientNotConnectedError(PrismaError):
""",
        """\
class ClientNotConnectedError(PrismaError):
    code: Any = 'P1017'
    fault: Optional[Fault] = Fault.NOT_CONNECTED
    retryable: bool = True

""",
    ),
)

# Where the native engine's binaries would be kept. In a container, a user may have no home, and the import would fail.
_CONFIG_CHANGES: Final = (
    (
        """\
        default=Path.home(),
""",
        """\
        default=Path('~'),
""",
    ),
)

# `model_validate` would only check, for each row, options that are not given here.
_COMPAT_CHANGES: Final = (
    (
        """\
        return model.model_validate(obj)
""",
        """\
        return model.__pydantic_validator__.validate_python(obj)
""",
    ),
    (
        """\
def model_parse_json(model: type[_ModelT], obj: str) -> _ModelT:
""",
        """\
def models_parse(model: type[_ModelT], objects: list[Any]) -> list[_ModelT]:
    parse = model.__pydantic_validator__.validate_python
    return [parse(obj) for obj in objects]


def model_parse_json(model: type[_ModelT], obj: str) -> _ModelT:
""",
    ),
)
_ACTIONS_IMPORT: Final = (
    (
        """\
from ._compat import model_parse
""",
        """\
from ._compat import model_parse, models_parse
""",
    ),
)
# Once for each model.
_ACTIONS_CHANGES: Final = (
    (
        """\
        return [model_parse(self._model, r) for r in resp['data']['result']]
""",
        """\
        return models_parse(self._model, resp['data']['result'])
""",
    ),
)


# See `model_building.py`.
_LARGE_BASE_CHANGES: Final = (
    (
        """\
from pydantic import BaseModel
""",
        """\
from pydantic import BaseModel

from prisma_inprocess.client import build_schema
""",
    ),
    (
        """\
            use_enum_values=True,
""",
        """\
            use_enum_values=True,
            defer_build=True,
""",
    ),
    (
        """\
    __prisma_model__: ClassVar[str]
""",
        """\
    __prisma_model__: ClassVar[str]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return build_schema(handler, source, models=@models@)
""",
    ),
)
_REBUILD: Final = re.compile(r"^model_rebuild\(\w+\)\n?", re.MULTILINE)


def patch_package(root: Path, provider: str, models: int) -> None:
    """Make a freshly generated package use the in-process engine.

    Args:
        root: The package's folder.
        provider: `postgresql` or `sqlite`.
        models: How many models the schema has.

    Raises:
        GenerationError: The package is not as expected.
    """
    types = (root / "generator" / "types.py").read_bytes()
    for name in _UNNEEDED:
        unneeded = root / name
        if unneeded.is_dir():
            shutil.rmtree(unneeded)
        else:
            unneeded.unlink(missing_ok=True)
    (root / "generator").mkdir()
    (root / "generator" / "types.py").write_bytes(types)
    (root / "generator" / "__init__.py").write_text(_file("generator"), encoding="utf-8")
    (root / "generator" / "models.py").write_text(_file("generator_models"), encoding="utf-8")
    (root / "_inprocess.py").write_text(_file("inprocess").replace("@provider@", provider), encoding="utf-8")
    (root / "types.py").rename(root / "_declared_types.py")
    (root / "types.py").write_text(_file("types"), encoding="utf-8")
    _change(root / "client.py", _CLIENT_CHANGES)
    _change(root / "errors.py", _ERROR_CHANGES)
    _change(root / "_compat.py", _COMPAT_CHANGES)
    _change(root / "_config.py", _CONFIG_CHANGES)
    _change(root / "actions.py", _ACTIONS_IMPORT)
    _change(root / "actions.py", _ACTIONS_CHANGES, times=models)
    if models >= LARGE:
        _defer_models(root, models)
    for file in root.rglob("*.py"):
        file.write_text(f"{_NOT_JUDGED}{file.read_text(encoding='utf-8')}", encoding="utf-8")


def _defer_models(root: Path, models: int) -> None:
    changes = tuple((old, new.replace("@models@", str(models))) for old, new in _LARGE_BASE_CHANGES)
    _change(root / "bases.py", changes)
    file = root / "models.py"
    file.write_text(_REBUILD.sub("", file.read_text(encoding="utf-8")), encoding="utf-8")


def _file(name: str) -> str:
    return (_FILES / f"{name}.py.txt").read_text(encoding="utf-8")


def _change(file: Path, changes: tuple[tuple[str, str], ...], times: int = 1) -> None:
    file.write_text(changed(file.name, file.read_text(encoding="utf-8"), changes, times), encoding="utf-8")
