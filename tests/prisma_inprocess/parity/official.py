"""Prisma's official JavaScript runtime, which repeats captured operations in a Node process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prisma_inprocess.datasource import strip_urls
from prisma_inprocess.schema_engine import SchemaEngine
from tests.prisma_inprocess.workbench import MODULES, Rich

HERE: Final = Path(__file__).parent


def is_installed() -> bool:
    """Return whether the official runtime can be started, and say what is missing if it cannot."""
    if shutil.which("node") is not None and (HERE / "node_modules").is_dir():
        return True
    sys.stderr.write(f"parity needs Node, and `npm ci` in {HERE.relative_to(Path.cwd())}\n")
    return False


def read_dmmf(datamodel: str) -> dict[str, Any]:
    """Return Prisma's description of a schema that has no URL."""
    engine = SchemaEngine(MODULES / "@prisma/prisma-schema-wasm/src/prisma_schema_build_bg.wasm")
    dmmf: dict[str, Any] = engine.dmmf(datamodel)
    return dmmf


def replay(
    official: Rich, schema: str, records: Sequence[Mapping[str, Any]], folder: Path, *, timeout: float = 300
) -> list[dict[str, Any]]:
    """Repeat captured operations on the official runtime.

    Args:
        official: The database that the official runtime uses.
        schema: The text of the schema.
        records: What `capture` returned.
        folder: A folder for temporary files.
        timeout: Seconds after which the process is ended.
    """
    datamodel, _ = strip_urls(schema)
    (folder / "schema.prisma").write_text(datamodel)
    (folder / "dmmf.json").write_text(json.dumps(read_dmmf(datamodel)))
    keys = ("label", "literal", "request", "plan")
    lines = "\n".join(json.dumps({key: record[key] for key in keys}) for record in records)
    command = [
        "node",
        str(HERE / "replay.mjs"),
        official.provider,
        official.url,
        str(folder / "schema.prisma"),
        str(folder / "dmmf.json"),
    ]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        sys.exit(f"the official runtime failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]
