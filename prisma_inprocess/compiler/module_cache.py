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
from collections.abc import Iterable
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
    """Where serialised modules go when the folder of the wasm file cannot be written to."""
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
                return Module.deserialize_file(engine, str(candidate))
    module = Module(engine, content)
    _store(bytes(module.serialize()), candidates)
    return module


def _cache_folders(wasm_file: Path) -> list[Path]:
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


def _store(serialised: bytes, candidates: Iterable[Path]) -> None:
    for target in candidates:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Renaming is atomic: another process sees no file or a whole file, whoever comes last wins with equal
            # content.
            descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        except OSError:
            continue
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(serialised)
            Path(temporary).replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            continue
        return
