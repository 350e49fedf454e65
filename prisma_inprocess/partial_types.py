"""Partial types: models with some of another model's fields, made by a script of the user's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from prisma_inprocess.errors import GenerationError
from prisma_inprocess.prisma_client_py import PartialTypes

# The client's `create_partial` refuses to run without it.
_VARIABLE: Final = "PRISMA_GENERATOR_INVOCATION"


def write_partial_types(output: Path, partial_types: PartialTypes) -> None:
    """Run the script, which imports the client in `output` and calls its models' `create_partial`, and write the
    result.

    Args:
        output: The generated package.
        partial_types: The script.

    Raises:
        GenerationError: The script failed, or does not import the client.
    """
    with _importable(), _marked():
        try:
            partial_types.run_script()
        except Exception as error:
            raise GenerationError(f"the partial type generator failed: {error.__cause__ or error}") from error
    created = _created(output)
    if created is None:
        raise GenerationError(f"the partial type generator does not import its models from the client in {output}")
    partial_types.write(output, created)


@contextmanager
def _importable() -> Iterator[None]:
    """The current folder on the import path, as it is for a script that is run from it."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.remove(str(Path.cwd()))


@contextmanager
def _marked() -> Iterator[None]:
    saved = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "true"
    try:
        yield
    finally:
        if saved is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = saved


def _created(output: Path) -> list[Any] | None:
    """The partial types that were created, from the client's own list, under whatever name it was imported."""
    wanted = output / "generator" / "__init__.py"
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file) == wanted:
            created: list[Any] = module.partial_models_ctx.get()
            return created
    return None
