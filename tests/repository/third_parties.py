"""Which distribution an import comes from, and who may import it: `pyproject.toml` declares both.

Every import counts, wherever it stands: at the top of a file, in a function, or under TYPE_CHECKING.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import all_suffixes
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES: Final = ("fastapi_durable", "prisma_inprocess")
BUILD_HOOK: Final = "prisma_inprocess/carried_modules.py"
"""Runs where a wheel is built, and is in none."""


@dataclass(frozen=True)
class ThirdPartyImport:
    """An import statement of one of our files, and the distributions that have what it names."""

    file: str
    line: int
    module: str
    distributions: frozenset[str]
    at_import: bool
    """Whether it is executed when the file is imported."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.module} (of {' or '.join(sorted(self.distributions)) or 'nobody'})"


@dataclass(frozen=True)
class Declarations:
    """What the `pyproject.toml` of the project and of the client in it declare, by canonical names."""

    runtime: dict[str, frozenset[str]]
    """By the package that needs them."""
    extras: dict[str, frozenset[str]]
    """By the folder that may import them."""

    @classmethod
    def read(cls, root: Path) -> "Declarations":
        """The declarations of the project at `root`."""
        content = _content(root)
        client = _content(root / "prisma_inprocess")
        optional = content["project"].get("optional-dependencies", {})
        folders: dict[str, list[str]] = content.get("tool", {}).get("fastapi-durable", {}).get("extra-folders", {})
        return cls(
            runtime={
                "fastapi_durable": _names(content["project"]["dependencies"]),
                "prisma_inprocess": _names(client["project"]["dependencies"]),
            },
            extras={folder: _names(optional[extra]) for extra, own in folders.items() for folder in own},
        )

    def allowed(self, file: str) -> frozenset[str]:
        """The distributions that a file may import."""
        extras = [names for folder, names in self.extras.items() if file.startswith(f"{folder}/")]
        return self.runtime_of(file).union(*extras)

    def runtime_of(self, file: str) -> frozenset[str]:
        """The distributions that come with a file's package, whatever extras are chosen."""
        return self.runtime[file.partition("/")[0]]


def third_party_imports(root: Path) -> Iterator[ThirdPartyImport]:
    """Every import of our packages that is neither the standard library's nor our own."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            if file == BUILD_HOOK:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node, at_import in _statements(tree, at_import=True):
                for module, names in _imported(node):
                    if _top(module) not in {*sys.stdlib_module_names, *PACKAGES}:
                        found = frozenset(_providers(module, names))
                        yield ThirdPartyImport(file, node.lineno, module, found, at_import)


def _content(project: Path) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return content


def _names(lines: list[str]) -> frozenset[str]:
    return frozenset(canonicalize_name(Requirement(line).name) for line in lines)


def _statements(node: ast.AST, *, at_import: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_import
        elif isinstance(child, ast.If) and _asks_for_type_checking(child.test):
            for statement in child.body:
                yield from _statements(ast.Module([statement], []), at_import=False)
            for statement in child.orelse:
                yield from _statements(ast.Module([statement], []), at_import=at_import)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _statements(child, at_import=at_import and not is_function)


def _asks_for_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, list[str]]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, []) for alias in node.names)
    elif node.level == 0 and node.module:
        yield node.module, [alias.name for alias in node.names]


def _providers(module: str, names: list[str]) -> Iterator[str]:
    """The distributions that have the module; of a namespace, those that have the modules taken from it."""
    owners = _owners(tuple(sys.path)).get(_top(module), [])
    if len(set(owners)) == 1:
        yield canonicalize_name(owners[0])
        return
    for each in [module, *(f"{module}.{name}" for name in names)]:
        yield from (canonicalize_name(owner) for owner in owners if _has(owner, each))


@cache
def _owners(_: tuple[str, ...]) -> Mapping[str, list[str]]:
    # Reads the metadata of everything that is installed, so it is asked once for a search path.
    return packages_distributions()


@cache
def _files(owner: str) -> frozenset[str]:
    return frozenset(path.as_posix() for path in distribution(owner).files or [])


def _has(owner: str, module: str) -> bool:
    base = module.replace(".", "/")
    return any(f"{base}{end}" in _files(owner) for suffix in all_suffixes() for end in (suffix, f"/__init__{suffix}"))


def _top(module: str) -> str:
    return module.partition(".")[0]
