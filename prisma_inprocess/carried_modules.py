"""The build hook that adds Prisma's WebAssembly modules to the wheel. They are never committed.

They come from the npm packages in the exact versions of the repository's `package.json`, which `npm ci` has checked
against the hashes of the lock. A source distribution carries them too, so that it needs no npm.
"""

import json
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER: Final = "wasm_files"
# The files that the client and the migrations need, by npm package. A test compares them with `wasm/files.py`.
CARRIED: Final = {
    "@prisma/prisma-schema-wasm": ("src/prisma_schema_build_bg.wasm",),
    "@prisma/query-compiler-wasm": (
        "postgresql/query_compiler_fast_bg.wasm",
        "sqlite/query_compiler_fast_bg.wasm",
    ),
    "@prisma/schema-engine-wasm": ("schema_engine_bg.wasm",),
}
# The text of the licence. These packages leave it out, so take it from a package of the same authors under the same
# licence.
LICENCE: Final = "@prisma/engines-version/LICENSE"
PRISMA_LICENCE: Final = "PRISMA_LICENSE"


class CarriedModules(BuildHookInterface[Any]):
    """Adds the modules and their licence."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files before a distribution is built. An editable installation uses them where they are."""
        root = Path(self.root)
        if version == "editable" or (root / FOLDER).is_dir():
            return
        for source, name in _files(root.parent):
            build_data["force_include"][str(source)] = name


def _files(repository: Path) -> list[tuple[Path, str]]:
    """Return each file to add, and its path in the package."""
    modules = repository / "node_modules"
    pinned: dict[str, str] = json.loads((repository / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    found = [(modules / LICENCE, f"{FOLDER}/{PRISMA_LICENCE}")]
    for package, files in CARRIED.items():
        manifest = modules / package / "package.json"
        installed = json.loads(manifest.read_text(encoding="utf-8"))["version"] if manifest.is_file() else "none"
        if installed != pinned[package]:
            raise SystemExit(f"{package} {pinned[package]} goes into the wheel, found {installed}: run `npm ci` first")
        found += [(modules / package / file, f"{FOLDER}/{package}/{file}") for file in files]
    return found
