"""Writes files completely, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file. Another process, and the next one after a crash, sees the old content or the new one.

    Raises:
        OSError: it cannot be written; the old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder_whole(path: Path, files: dict[str, str]) -> None:
    """Create a folder with text files in it, all at once.

    Raises:
        OSError: it cannot be created, or exists and is not empty. Nothing was written then.
    """
    # Not inside the parent, because listing the parent would show it.
    workspace = Path(tempfile.mkdtemp(dir=path.parent.parent, prefix=f".{path.name}."))
    try:
        prepared = workspace / path.name
        prepared.mkdir()
        for name, text in files.items():
            write_whole(prepared / name, text)
        prepared.rename(path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
