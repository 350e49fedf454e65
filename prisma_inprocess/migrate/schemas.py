"""The commands that only read a schema: `validate` and `format`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prisma_inprocess.datasource import read_datasource, strip_urls
from prisma_inprocess.errors import GenerationError, MigrationError
from prisma_inprocess.files import write_whole
from prisma_inprocess.migrate.project import read_schema
from prisma_inprocess.schema_engine import SchemaEngine
from prisma_inprocess.wasm.files import SCHEMA, find


@dataclass(slots=True, frozen=True)
class Formatted:
    """The result of `format_schema`.

    Attributes:
        text: The schema as Prisma lays it out.
        changed: Whether it was laid out in another way.
    """

    text: str
    changed: bool


def validate_schema(schema: Path, *, wasm_dir: Path | None = None) -> None:
    """Check a schema.

    Args:
        schema: The schema's file.
        wasm_dir: The `node_modules` folder with Prisma's wasm packages, as for `load_project`.

    Raises:
        MigrationError: the schema cannot be read, or is invalid (P1012): the details list every error with its line.
        ConfigurationError: its datasource cannot be used.
    """
    text = read_schema(schema)
    engine = SchemaEngine(find(SCHEMA, wasm_dir=wasm_dir, near=[schema.resolve().parent]))
    try:
        engine.validate(schema.name, strip_urls(text)[0])
    except GenerationError as error:
        raise _invalid(schema, error) from error
    read_datasource(text)


def format_schema(schema: Path, *, write: bool = True, wasm_dir: Path | None = None) -> Formatted:
    """Lay a schema out as Prisma does: columns of types and attributes, missing back relations.

    Args:
        schema: The schema's file.
        write: Whether the file is replaced.
        wasm_dir: The `node_modules` folder with Prisma's wasm packages, as for `load_project`.

    Raises:
        MigrationError: the schema cannot be read or written, or is invalid (P1012); it is unchanged.
    """
    text = read_schema(schema)
    engine = SchemaEngine(find(SCHEMA, wasm_dir=wasm_dir, near=[schema.resolve().parent]))
    try:
        formatted = engine.format(schema.name, text)
        engine.validate(schema.name, strip_urls(formatted)[0])
    except GenerationError as error:
        raise _invalid(schema, error) from error
    if write and formatted != text:
        try:
            write_whole(schema.resolve(), formatted)
        except OSError as error:
            raise MigrationError(f"the schema {schema} cannot be written: {error.strerror}") from error
    return Formatted(formatted, formatted != text)


def _invalid(schema: Path, error: GenerationError) -> MigrationError:
    errors = [line.removeprefix("error: ") for line in str(error).splitlines() if line.startswith("error: ")]
    first = (errors or [str(error).partition("\n")[0]])[0].rstrip(".")
    more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    return MigrationError(f"the schema {schema} is invalid: {first}{more}. Correct it", "P1012", details=str(error))
