"""Finds Prisma's WebAssembly files in this package, or in a `node_modules` folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prisma_inprocess.errors import GenerationError

# A wheel carries them, in the folders that they have in `node_modules`; a checkout does not.
PACKAGED: Final = Path(__file__).resolve().parents[1] / "wasm_files"

SCHEMA: Final = "@prisma/prisma-schema-wasm/src/prisma_schema_build_bg.wasm"
SCHEMA_ENGINE: Final = "@prisma/schema-engine-wasm/schema_engine_bg.wasm"
QUERY_COMPILER: Final = "@prisma/query-compiler-wasm/{provider}/query_compiler_fast_bg.wasm"


def find(name: str, *, wasm_dir: Path | None = None, near: Iterable[Path] = ()) -> Path:
    """Return the path of a WebAssembly file.

    Args:
        name: Its path inside `node_modules`, one of the constants of this module.
        wasm_dir: The `node_modules` folder to look in, and in no other place.
        near: Folders to start from. The file is looked for in the `node_modules` of each of them and of every folder
            above it, after the files that this package carries.

    Raises:
        GenerationError: there is no such file.
    """
    if wasm_dir is not None:
        if (wasm_dir / name).is_file():
            return wasm_dir / name
        raise GenerationError(
            f"{wasm_dir / name} is missing: run `npm ci`, or pass --wasm-dir with the node_modules folder that has it"
        )
    if (PACKAGED / name).is_file():
        return PACKAGED / name
    for start in (*near, Path.cwd()):
        for folder in (start, *start.parents):
            if (folder / "node_modules" / name).is_file():
                return folder / "node_modules" / name
    package = "/".join(name.split("/")[:2])
    raise GenerationError(
        f"Prisma's WebAssembly package {package} was not found in a node_modules folder above the schema or the "
        f"current folder: run `npm ci` (or `npm install {package}` in the documented version), or pass --wasm-dir"
    )
