"""The two schemas of this repository say the same, and hold the durable models as the package prints them."""

import difflib

import pytest

from fastapi_durable.schema import Provider, missing_from, read_schema, snippet
from tests.support.migrations import REPOSITORY, prisma_inprocess

_FILES: dict[Provider, str] = {"sqlite": "schema.prisma", "postgresql": "schema.postgresql.prisma"}


@pytest.mark.parametrize("provider", _FILES)
def test_each_schema_ends_with_the_printed_snippet(provider: Provider) -> None:
    """The models in the repository are those of the package, to the letter."""
    text = (REPOSITORY / _FILES[provider]).read_text(encoding="utf-8")
    assert text.endswith("// ── fastapi_durable ──\n\n" + snippet(provider))
    assert missing_from(read_schema(REPOSITORY / _FILES[provider])) == []


@pytest.mark.parametrize(("file", "url"), [(_FILES["sqlite"], "file:x.db"), (_FILES["postgresql"], "postgresql://x/x")])
def test_the_schemas_are_formatted_as_prisma_formats(file: str, url: str) -> None:
    """`prisma format` would leave them alone, and with them the snippet that users paste."""
    prisma_inprocess("format", "--check", "--schema", file, database_url=url)


def test_the_two_schemas_differ_only_where_the_databases_do() -> None:
    """Provider, output folder, the signal's id and the index over tags; nothing else."""
    sqlite, postgresql = (
        (REPOSITORY / file).read_text(encoding="utf-8").partition("\ngenerator ")[2].splitlines()
        for file in _FILES.values()
    )
    changed = [line for line in difflib.ndiff(sqlite, postgresql) if line[0] in "+-"]
    assert [" ".join(line.split()) for line in changed] == [
        '- output = "./example_app/clients/sqlite"',
        '+ output = "./example_app/clients/postgresql"',
        '- provider = "sqlite"',
        '+ provider = "postgresql"',
        "+ @@index([tags(ops: JsonbPathOps)], type: Gin)",
        "- id Int @id @default(autoincrement())",
        "+ id BigInt @id @default(autoincrement())",
    ]
