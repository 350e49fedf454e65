"""Compiled WebAssembly modules, kept on disk between processes.

Compiling the query compiler takes seconds, loading wasmtime's serialised form takes milliseconds. That form is only
good for one wasmtime version and one CPU, so it is never shipped: it is built when a client is generated or first
used, under a name made of everything it depends on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

from wasmtime import Config, Engine, Module, WasmtimeError

CACHE_DIR_VARIABLE = "PRISMA_INPROCESS_CACHE_DIR"


def new_engine() -> Engine:
    """An engine with the two proposals that wasm-bindgen's output needs."""
    config = Config()
    config.wasm_reference_types = True
    config.wasm_multi_value = True
    return Engine(config)


def default_cache_dir() -> Path:
    """The user's own folder for serialised modules (`PRISMA_INPROCESS_CACHE_DIR` to choose another)."""
    chosen = os.environ.get(CACHE_DIR_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "prisma-inprocess"


def load_module(engine: Engine, wasm_file: Path) -> Module:
    """Load a wasm file, from its serialised form if a usable one exists, else by compiling it.

    A missing, damaged or foreign serialised file is never an error: the module is compiled and the file written again
    where possible.
    """
    content = wasm_file.read_bytes()
    name = f"{wasm_file.stem}-{_fingerprint(content)}.cwasm"
    candidates = [folder / name for folder in _cache_folders(wasm_file)]
    for candidate in candidates:
        with contextlib.suppress(OSError, WasmtimeError):
            if candidate.is_file():
                module = Module.deserialize_file(engine, str(candidate))
                if candidate != candidates[0]:
                    _store(candidate.read_bytes(), candidates[0])
                return module
    module = Module(engine, content)
    serialised = bytes(module.serialize())
    for candidate in candidates:
        _store(serialised, candidate)
    return module


def _cache_folders(wasm_file: Path) -> list[Path]:
    # Beside the wasm file for whoever runs the client later, perhaps as another user; in the user's own folder for
    # the next client that is generated somewhere else.
    if os.environ.get(CACHE_DIR_VARIABLE):
        return [default_cache_dir()]
    return [wasm_file.parent, default_cache_dir()]


def _fingerprint(content: bytes) -> str:
    """Everything that the serialised form depends on: the module, wasmtime, the machine and its CPU's features."""
    parts = (
        hashlib.sha256(content).hexdigest(),
        version("wasmtime"),
        platform.machine(),
        platform.system(),
        _cpu_features(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _cpu_features() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return line.partition(":")[2].strip()
    return platform.processor()


def _store(serialised: bytes, target: Path) -> None:
    """Write a serialised module where that is possible; a folder that cannot be written to is no error."""
    try:
        # Whoever can write here can have code run: the folder is made for its owner alone.
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(serialised)
        # Renaming is atomic: another process sees no file or a whole one, and whoever comes last wins with equal
        # content.
        Path(temporary).replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
