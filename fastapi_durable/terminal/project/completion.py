"""Adds missing parts to a file: to a schema, a `.gitignore`, a `.env`. Existing parts stay as they are."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fastapi_durable.schema import (
    PROVIDERS,
    Generator,
    Provider,
    Schema,
    durable_model_texts,
    missing_from,
    parse_schema,
)
from fastapi_durable.terminal.project import containers, templates


class NotCompletable(Exception):
    """The file must be changed by hand. Each argument is one thing to change."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A file's new text, and the added parts. There are none if the file was complete."""

    text: str
    added: list[str] = field(default_factory=list)


def completed_schema(text: str, database: Provider | None) -> Completed:
    """Return a schema with a datasource, a generator and the durable models.

    Args:
        text: The schema; empty for a new one.
        database: The database of a new datasource (default: SQLite). A schema's own stays.

    Raises:
        NotCompletable: the schema's database is another one, or a durable model in it is not as it must be.
        PrismaSyntaxError: the text is not a schema.
    """
    schema = parse_schema(text)
    provider = _provider(schema.provider, database)
    parts, added = [], []
    if not any(_is_ours(generator) for generator in schema.generators):
        parts.append(templates.GENERATOR)
        added.append("the generator")
    if schema.provider is None:
        parts.append(templates.datasource(provider))
        added.append("the datasource")
    if text.strip():
        parts.append(text.strip("\n") + "\n")
    texts = durable_model_texts(provider)
    absent = [text for name, text in texts.items() if schema.find_model(name) is None]
    parts.extend(absent)
    if absent:
        added.append("the durable models" if len(absent) == len(texts) else f"{len(absent)} durable models")
    whole = "\n".join(parts)
    problems = missing_from(parse_schema(whole), provider)
    if problems:
        raise NotCompletable(*problems)
    return Completed(whole if added else text, added)


def completed_lines(text: str, lines: list[str]) -> Completed:
    """Return a text that has each of these lines."""
    there = {line.strip() for line in text.splitlines()}
    added = [line for line in lines if line not in there]
    before = f"{text}\n" if text and not text.endswith("\n") else text
    return Completed(before + "".join(f"{line}\n" for line in added), added)


def completed_requirements(text: str) -> Completed:
    """Return a `requirements.txt` that installs this library, in any version or from a file."""
    named = any(containers.REQUIREMENTS in line.replace("_", "-") for line in text.splitlines())
    return Completed(text) if named else completed_lines(text, [containers.REQUIREMENTS])


def completed_environment(text: str, variable: str, provider: Provider) -> Completed:
    """Return a `.env` file with the database's URL in the variable that the schema names."""
    names = [line.partition("=")[0].removeprefix("export ").strip() for line in text.splitlines()]
    return Completed(text) if variable in names else completed_lines(text, [f"{variable}={templates.URLS[provider]}"])


def client_module(schema: Schema) -> str:
    """Return the import name of the package that the schema's generator writes, relative to the schema's folder."""
    output = next((each.output for each in schema.generators if _is_ours(each)), None)
    parts = PurePosixPath(output or templates.CLIENT).parts
    if not all(part.isidentifier() for part in parts):
        raise NotCompletable(
            f"the generator's output is {output!r}, which main.py cannot import: write a main.py, or let the client go "
            f'to "./{templates.CLIENT}"'
        )
    return ".".join(parts)


def _is_ours(generator: Generator) -> bool:
    name = generator.provider
    return name in ("prisma-client-py", "prisma_inprocess", "prisma-inprocess") or name.endswith("-m prisma_inprocess")


def _provider(found: str | None, wanted: Provider | None) -> Provider:
    if found is None:
        return wanted or "sqlite"
    for provider in PROVIDERS:
        if provider == found:
            if wanted not in (None, provider):
                raise NotCompletable(
                    f"the schema's datasource is {found!r}, and --database says {wanted!r}. Leave the option out, or "
                    "change the datasource"
                )
            return provider
    raise NotCompletable(f"the schema's datasource is {found!r}; fastapi_durable works with {' and '.join(PROVIDERS)}")
