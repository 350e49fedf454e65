"""Compiled WebAssembly modules, kept on disk between processes.

Compiling the query compiler takes seconds, loading wasmtime's serialised form takes milliseconds. That form is only
good for one wasmtime version and one CPU, so it is never shipped: it is built when a client is generated or first
used, under a name made of everything it depends on.

A serialised module is machine code, which wasmtime runs without another look. So only what this user alone could write
is loaded: a file and a folder that belong to the user, and that others cannot write to. Root may own them, too: it
could change this process anyway, and an image of a container is built by root and run by another user.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path

from wasmtime import Config, Engine, Module, WasmtimeError

log = logging.getLogger(__name__)

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

    A missing, damaged or foreign serialised file is never an error, and neither is one that others could have written:
    the module is compiled and the file written again where possible.
    """
    content = wasm_file.read_bytes()
    name = f"{wasm_file.stem}-{_fingerprint(content)}.cwasm"
    candidates = [folder / name for folder in _cache_folders(wasm_file)]
    for candidate in candidates:
        with contextlib.suppress(OSError, WasmtimeError):
            found = _read_own(candidate)
            module = Module.deserialize(engine, found)
            if candidate != candidates[0]:
                _store(found, candidates[0])
            return module
    _warn_of_open_folders(candidates)
    module = Module(engine, content)
    serialised = bytes(module.serialize())
    for candidate in candidates:
        _store(serialised, candidate)
    return module


def _cache_folders(wasm_file: Path) -> list[Path]:
    # Beside the wasm file for the processes that run this client; in the user's own folder for the next client that is
    # generated somewhere else.
    if os.environ.get(CACHE_DIR_VARIABLE):
        return [default_cache_dir()]
    folders = [wasm_file.parent]
    with contextlib.suppress(RuntimeError):  # in a container, a user may have no home
        folders.append(default_cache_dir())
    return folders


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


def _read_own(file: Path) -> bytes:
    """Return the content of a file that only this user can have written.

    Raises:
        OSError: there is no such file.
    """
    if not _is_own(file.parent.stat()):
        raise PermissionError(f"{file.parent} is not this user's alone")
    # Check the open file, not its name, which may refer to another file a moment later.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not _is_own(status):
            raise PermissionError(f"{file} is not this user's alone")
        return opened.read()


def _is_own(status: os.stat_result) -> bool:
    """Return whether a file or folder belongs to this user, or to root, and other users cannot write to it. On Windows
    the mode does not say that, and the folders' access lists decide.
    """
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _warn_of_open_folders(candidates: list[Path]) -> None:
    """Say why a process takes seconds to start, where it would not have to."""
    for candidate in candidates:
        with contextlib.suppress(OSError):
            if candidate.exists() and not _is_own(candidate.parent.stat()):
                log.warning(
                    "the compiled query compiler in %s was not used but compiled again, because other users could "
                    "have written it. Make the folder this user's alone: chown it, and chmod go-w %s",
                    candidate.parent,
                    candidate.parent,
                )


def _store(serialised: bytes, target: Path) -> None:
    """Write a serialised module if possible. A folder without write permission is not an error.

    Nothing is written where nothing would be loaded.
    """
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_own(target.parent.stat()):
            return
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(serialised)
        # No secret, and read by another user where root has built an image.
        Path(temporary).chmod(0o644)
        # Renaming is atomic: another process sees no file or a whole one. The last writer wins, with equal content.
        Path(temporary).replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
