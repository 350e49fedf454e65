"""`generate`: writes a typed client package for a Prisma schema, which runs on the in-process engine.

The package is written by Prisma Client Python's own generator, from the description that Prisma's own schema engine
gives: no Node, no Prisma CLI, no download. Afterwards a few lines of it are changed so that its `Prisma` class uses
this engine.
"""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prisma_inprocess.compiler.input_graph import build_graph
from prisma_inprocess.compiler.query_compiler import QueryCompiler
from prisma_inprocess.datasource import PROVIDERS, strip_urls
from prisma_inprocess.errors import GenerationError
from prisma_inprocess.package import COMPILER_FILE, DATAMODEL_FILE, ENGINE_FOLDER, GRAPH_FILE
from prisma_inprocess.schema_engine import SchemaEngine
from prisma_inprocess.trial_import import try_import
from prisma_inprocess.wasm.files import QUERY_COMPILER, SCHEMA, find

GENERATOR_NAMES: Final = ("prisma-client-py", "prisma_inprocess", "prisma-inprocess")
_GENERATOR: Final = re.compile(r'^[ \t]*generator\s+\w+\s*\{[^}]*?^[ \t]*provider\s*=\s*"([^"]*)"', re.MULTILINE)


@dataclass(slots=True, frozen=True)
class Generated:
    """The result of `generate`: the folder of the package, and its provider."""

    output: Path
    provider: str


def generate(schema: Path, *, wasm_dir: Path | None = None, warm_up: bool = True) -> Generated:
    """Write the client package of a schema.

    Args:
        schema: The schema file.
        wasm_dir: The `node_modules` folder with Prisma's wasm packages. Default: the files of this package, or those
            of the nearest folder above the schema or the current folder.
        warm_up: Whether to compile the query compiler now. It takes some seconds, which the first process saves.

    Returns:
        The folder of the package, and its provider.

    Raises:
        GenerationError: the schema is missing or refused, or uses a provider, an option or a name that is not
            supported; the wasm files are missing; or the new client cannot be imported. The old client stays as it
            was.
    """
    # A running client imports this package, and needs neither PyPI's `prisma` nor its templates.
    from prisma_inprocess.names import refuse_names
    from prisma_inprocess.partial_types import write_partial_types
    from prisma_inprocess.patching import patch_package
    from prisma_inprocess.prisma_client_py import write_client

    schema = schema.resolve()
    try:
        text = schema.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise GenerationError(f"there is no schema file {schema}") from None
    datamodel, url = strip_urls(text)
    engine = SchemaEngine(find(SCHEMA, wasm_dir=wasm_dir, near=[schema.parent]))
    config = engine.config(datamodel)
    generator = _choose_generator(config, schema)
    datasource = _check_datasource(config, schema)
    provider: str = datasource["activeProvider"]
    output = (schema.parent / _output_of(generator, schema)).resolve()
    compiler = find(QUERY_COMPILER.format(provider=provider), wasm_dir=wasm_dir, near=[schema.parent])
    dmmf = engine.dmmf(datamodel)
    refuse_names(dmmf["datamodel"])

    data = _client_data(schema, text, output, generator, datasource, url, dmmf)
    with _replaced(output) as target:
        partial_types = write_client(target, data)
        folder = target / ENGINE_FOLDER
        folder.mkdir()
        (folder / GRAPH_FILE).write_text(json.dumps(build_graph(dmmf), separators=(",", ":"), sort_keys=True))
        (folder / DATAMODEL_FILE).write_text(datamodel, encoding="utf-8")
        (folder / COMPILER_FILE).write_bytes(compiler.read_bytes())
        _keep_serialised(output / ENGINE_FOLDER, folder)
        patch_package(target, provider, len(dmmf["datamodel"]["models"]))
        # Compile the source now, because for a large client that takes seconds and hundreds of megabytes.
        compileall.compile_dir(target, quiet=2, stripdir=str(target), prependdir=str(output))
        try_import(target, output)
        if warm_up:
            QueryCompiler(folder / COMPILER_FILE, datamodel, provider)
    if partial_types is not None:
        write_partial_types(output, partial_types)
    return Generated(output, provider)


def wants_client(schema: str) -> bool:
    """Return whether a schema has a generator block that `generate` accepts."""
    return any(_is_ours(provider) for provider in _GENERATOR.findall(schema))


def _is_ours(provider: str) -> bool:
    return provider in GENERATOR_NAMES or provider.endswith(("-m prisma_inprocess", "prisma_inprocess.generator"))


def _choose_generator(config: Mapping[str, Any], schema: Path) -> dict[str, Any]:
    for generator in config["generators"]:
        if _is_ours(str(generator["provider"]["value"])):
            found: dict[str, Any] = generator
            return found
    raise GenerationError(
        f'{schema} has no generator block with `provider = "prisma_inprocess"` (or "prisma-client-py")'
    )


def _check_datasource(config: Mapping[str, Any], schema: Path) -> dict[str, Any]:
    if not config["datasources"]:
        raise GenerationError(f"{schema} has no datasource block")
    datasource: dict[str, Any] = config["datasources"][0]
    if datasource["activeProvider"] not in PROVIDERS:
        raise GenerationError(
            f"the provider of {schema} must be one of {', '.join(PROVIDERS)}, got {datasource['activeProvider']!r}"
        )
    return datasource


def _output_of(generator: Mapping[str, Any], schema: Path) -> Path:
    output = generator.get("output")
    value = output and (output["value"] or os.environ.get(output["fromEnvVar"] or ""))
    if not value:
        raise GenerationError(
            f'the generator block of {schema} must have an output, such as `output = "./myapp/client"`'
        )
    return Path(value)


def _client_data(
    schema: Path,
    text: str,
    output: Path,
    generator: Mapping[str, Any],
    datasource: Mapping[str, Any],
    url: Mapping[str, str | None],
    dmmf: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the data that the Prisma CLI would send to Prisma Client Python's generator."""
    options = {"interface": "asyncio", "recursive_type_depth": "-1", **generator["config"]}
    if options["interface"] != "asyncio":
        raise GenerationError(
            f'interface = "{options["interface"]}" is not supported, because the engine is asynchronous. Use "asyncio"'
        )
    return {
        "generator": {
            "name": generator["name"],
            "provider": {"fromEnvVar": None, "value": "prisma-client-py"},
            "output": {"fromEnvVar": None, "value": str(output)},
            "config": options,
            "binaryTargets": [],
            "previewFeatures": generator["previewFeatures"],
        },
        "otherGenerators": [],
        "schemaPath": str(schema),
        "dmmf": dmmf,
        "datasources": [
            {
                "name": datasource["name"],
                "provider": datasource["provider"],
                "activeProvider": datasource["activeProvider"],
                "url": dict(url),
                "sourceFilePath": str(schema),
            }
        ],
        "datamodel": text,
        "binaryPaths": {},
    }


@contextlib.contextmanager
def _replaced(output: Path) -> Iterator[Path]:
    """Yield a folder that replaces `output` if the block succeeds. Otherwise nothing changes."""
    if output.exists() and not (output / "_base_client.py").exists() and any(output.iterdir()):
        raise GenerationError(
            f"{output} is not empty and holds no generated client. Nothing was overwritten. Choose another output"
        )
    created = next((folder for folder in reversed(output.parents) if not folder.exists()), None)
    output.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        target = workspace / output.name
        target.mkdir()
        yield target
        if output.exists():
            output.rename(workspace / "old")
        target.rename(output)
    except BaseException:
        if created is not None:
            shutil.rmtree(created, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _keep_serialised(old: Path, new: Path) -> None:
    """Keep the compiler's serialised form of the replaced client, if the compiler is the same."""
    with contextlib.suppress(FileNotFoundError):
        if (old / COMPILER_FILE).read_bytes() == (new / COMPILER_FILE).read_bytes():
            for serialised in old.glob("*.cwasm"):
                shutil.copy2(serialised, new)
