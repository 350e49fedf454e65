"""Imports point down the list of layers only. `python -m tests.repository.import_rules` lists every other one.

Every import counts, wherever it stands: at the top of a file, in a function, or under TYPE_CHECKING.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

LIBRARY: Final = "fastapi_durable"

# The longest prefix decides. A module that is in no layer is a finding too: new modules choose their place.
LAYERS: Final[Mapping[str, int]] = {
    # 1 domain
    "fastapi_durable.errors": 1,
    "fastapi_durable.model": 1,
    "fastapi_durable.activity": 1,
    "fastapi_durable.duration": 1,
    "fastapi_durable.retry": 1,
    "fastapi_durable.definition": 1,
    "fastapi_durable.signature": 1,
    "fastapi_durable.methods": 1,
    "fastapi_durable.ambience": 1,
    "fastapi_durable.entity": 1,
    "fastapi_durable.queue": 1,
    "fastapi_durable.concurrency": 1,
    "fastapi_durable.schema": 1,
    # 2 ports
    "fastapi_durable.store": 2,
    "fastapi_durable.transport": 2,
    "fastapi_durable.wakeups": 2,
    "fastapi_durable.codec": 2,
    "fastapi_durable.clock": 2,
    # 3 adapters
    "fastapi_durable.store.memory": 3,
    "fastapi_durable.store.prisma": 3,
    "fastapi_durable.transport.in_process": 3,
    "fastapi_durable.wakeups.postgresql": 3,
    "fastapi_durable.wakeups.sqlite": 3,
    # 4 engine
    "fastapi_durable.engine": 4,
    "fastapi_durable.worker": 4,
    "fastapi_durable.telemetry": 4,
    "fastapi_durable.meters": 4,
    "fastapi_durable.metrics": 4,
    "fastapi_durable.logs": 4,
    # 5 composition
    "fastapi_durable.injection": 5,
    "fastapi_durable.settings": 5,
    "fastapi_durable.options": 5,
    "fastapi_durable.runtime": 5,
    "fastapi_durable.service": 5,
    "fastapi_durable.gateway": 5,
    "fastapi_durable.webhooks": 5,
    "fastapi_durable.web": 5,  # the module hands out the console's router
    "fastapi_durable.module": 5,
    # 6 edges
    "fastapi_durable.terminal": 6,
    "fastapi_durable.testing": 6,
    "fastapi_durable.standalone": 6,
    "fastapi_durable.__main__": 6,
}
# The engine has floors of its own: each knows those before it. What all of them share stands in the engine's folder.
FLOORS_OF_THE_ENGINE: Final = (
    ("runs",),
    ("turns",),
    ("primitives",),
    ("context",),
    ("starting",),
    ("operating",),
    ("upkeep",),
    ("driver", "deliveries", "entity", "entities", "engine"),
)

# The package's own __init__ re-exports the public names: it may import everything, and nothing inside may import it.
PUBLIC_FACE: Final = 7

# What else a layer may import beside the standard library; each layer may also import what the layers below it may.
THIRD_PARTY: Final[Mapping[int, frozenset[str]]] = {
    1: frozenset({"pydantic"}),
    2: frozenset({"orjson", "pydantic_core"}),
    3: frozenset({"asyncpg"}),
    4: frozenset({"anyio", "cronsim", "opentelemetry"}),
    5: frozenset({"fastapi", "starlette", "pydantic_settings", "typing_inspection"}),
    6: frozenset({"httpx", "rich", "uvicorn"}),
    PUBLIC_FACE: frozenset(),
}

# Packages of this repository, and which of the others each may import.
NEIGHBOURS: Final[Mapping[str, frozenset[str]]] = {
    LIBRARY: frozenset(),
    "prisma_inprocess": frozenset(),
    "example_app": frozenset({LIBRARY}),
}
# An application sees the library from outside.
PUBLIC_MODULES: Final = frozenset({LIBRARY, f"{LIBRARY}.web"})

NAMES_THAT_SAY_NOTHING: Final = frozenset({"utils", "util", "helpers", "common", "misc"})


@dataclass(frozen=True, slots=True)
class Import:
    """One import of one module."""

    importer: str
    imported: str
    place: str


def violations(root: Path = REPOSITORY) -> list[str]:
    """List every import that breaks a rule, one sentence each."""
    found: list[str] = []
    for package in NEIGHBOURS:
        for path in sorted((root / package).rglob("*.py")):
            relative = path.relative_to(root)
            if relative.parts[:2] == ("example_app", "clients"):
                continue  # generated
            found.extend(f"{relative}: {finding}" for finding in _name_findings(relative))
            for imported in _imports(root, relative):
                finding = _finding(imported)
                if finding:
                    found.append(f"{imported.place}: {finding}")
    return found


def _name_findings(path: Path) -> Iterator[str]:
    name = _module_name(path)
    for part in name.split("."):
        if part in NAMES_THAT_SAY_NOTHING:
            yield f"{part!r} names no idea: say what is in the module"
    if name.startswith(f"{LIBRARY}.") and _layer(name) is None:
        yield f"{name} is in no layer: give it one in {Path(__file__).name}"


def _finding(imported: Import) -> str | None:
    package = imported.importer.partition(".")[0]
    target = imported.imported.partition(".")[0]
    if target in NEIGHBOURS and target != package:
        if target not in NEIGHBOURS[package]:
            return f"{package} must not know {target}"
        if imported.imported not in PUBLIC_MODULES:
            return f"{package} imports {imported.imported}, which is not public"
        return None
    if package != LIBRARY:
        return None
    layer = _layer(imported.importer)
    if layer is None:
        return None  # reported once, by name
    if target != package:
        if target in sys.stdlib_module_names or any(target in THIRD_PARTY[below] for below in range(1, layer + 1)):
            return None
        return f"layer {layer} must not import {target}"
    target_layer = _layer(imported.imported)
    if target_layer is not None and target_layer > layer:
        return f"layer {layer} ({imported.importer}) imports layer {target_layer} ({imported.imported})"
    floor, target_floor = _floor(imported.importer), _floor(imported.imported)
    if floor is not None and target_floor is not None and target_floor > floor:
        return f"{imported.importer} imports {imported.imported}, from a higher floor of the engine"
    return None


def _floor(module: str) -> int | None:
    """The floor of a module of the engine; None for what all floors share."""
    engine = f"{LIBRARY}.engine."
    if not module.startswith(engine):
        return None
    name = module.removeprefix(engine).partition(".")[0]
    return next((floor for floor, names in enumerate(FLOORS_OF_THE_ENGINE) if name in names), None)


def _layer(module: str) -> int | None:
    if module == LIBRARY:
        return PUBLIC_FACE
    prefix = module
    while prefix != LIBRARY:
        if prefix in LAYERS:
            return LAYERS[prefix]
        prefix = prefix.rpartition(".")[0]
    return None


def _imports(root: Path, path: Path) -> Iterator[Import]:
    importer = _module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, f"{path}:{node.lineno}")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                anchor = ".".join(parents[: len(parents) - node.level + 1])
                base = f"{anchor}.{base}".rstrip(".")
            for alias in node.names:
                # `from package import module` imports the module, `from module import name` the module it stands in
                full = f"{base}.{alias.name}"
                yield Import(importer, full if _is_module(root, full) else base, f"{path}:{node.lineno}")


def _is_module(root: Path, name: str) -> bool:
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    problems = violations()
    print("\n".join(problems) or "imports point downward")  # noqa: T201 - its output is its purpose
    sys.exit(bool(problems))
