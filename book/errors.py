"""The errors of the library."""

from collections.abc import Iterator

from book.docstrings import summary
from book.markdown import table
from fastapi_durable import errors as public


def errors() -> Iterator[tuple[str, str, str]]:
    """Yield each public error: its name, the names of its bases that are public too, and when it is raised."""
    for name in public.__all__:
        error = getattr(public, name)
        bases = [base.__name__ for base in error.__bases__ if base.__name__ in public.__all__]
        yield name, ", ".join(bases), summary(error)


def errors_table() -> str:
    """Return the table of errors."""
    rows = (
        (f"[`{name}`](api/errors.md#fastapi_durable.errors.{name})", f"`{base}`" if base else "", text)
        for name, base, text in errors()
    )
    return table(("Error", "Is a", "What happened"), rows)
