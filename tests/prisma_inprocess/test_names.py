"""Names of a schema that a generated client cannot have are refused, with what to do; all others work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prisma_inprocess import GenerationError, generate

MODULES = Path("node_modules").resolve()
HEAD = """
generator client {
  provider = "prisma_inprocess"
  output   = "./app/client"
}

datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}
"""
NOTE = "model Note {\n  id Int @id @default(autoincrement())\n  kind Kind?\n}\n"
KIND = "enum Kind {\n  A\n}\n"


def refusal(folder: Path, models: str) -> str:
    """What the message says of each name, without its first line."""
    schema = folder / "schema.prisma"
    schema.write_text(HEAD + models)
    with pytest.raises(GenerationError) as refused:
        generate(schema, wasm_dir=MODULES, warm_up=False)
    assert not (folder / "app").exists()
    return str(refused.value)


def with_field(field: str) -> str:
    return KIND + NOTE.replace("}\n", f"  {field}\n}}\n")


@pytest.mark.parametrize("name", ["models", "fields", "enums", "Optional", "List", "datetime", "decimal"])
def test_a_field_that_the_class_of_its_model_uses_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path, with_field(f"{name} String?"))
    assert f"field Note.{name}: " in message
    assert f'@map("{name}")' in message


@pytest.mark.parametrize("name", ["create_partial", "model_fields"])
def test_a_field_that_all_models_have_is_refused(tmp_path: Path, name: str) -> None:
    assert f"field Note.{name}: " in refusal(tmp_path, with_field(f"{name} String"))


def test_an_enum_that_others_derive_from_is_refused(tmp_path: Path) -> None:
    assert "enum StrEnum: " in refusal(tmp_path, "enum StrEnum {\n  A\n}\n" + KIND + NOTE)


def test_the_message_keeps_the_name_that_the_database_has_today(tmp_path: Path) -> None:
    assert '@map("the_models")' in refusal(tmp_path, with_field('models String? @map("the_models")'))
    assert '@@map("sets")' in refusal(tmp_path, 'model Set {\n  id Int @id\n  @@map("sets")\n}\n')


def test_a_relation_is_renamed_without_a_column(tmp_path: Path) -> None:
    relation = "model A {\n  id Int @id\n  models B[]\n}\nmodel B {\n  id Int @id\n  aId Int\n"
    message = refusal(tmp_path, relation + "  a A @relation(fields: [aId], references: [id])\n}\n")
    assert "field A.models: " in message
    assert "@map" not in message


@pytest.mark.parametrize(
    "name", ["Set", "Dict", "tx", "Connect", "disconnect", "query_raw", "Batch_", "is_connected", "Commit"]
)
def test_a_model_that_the_client_or_its_modules_use_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path, f"model {name} {{\n  id Int @id\n}}\n")
    assert f"model {name}: " in message
    assert f'@@map("{name}")' in message


def test_models_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "model Note {\n  id Int @id\n}\nmodel NOTE {\n  id Int @id\n}\n")
    assert "model NOTE: `client.note` would be Note, too" in message


@pytest.mark.parametrize("name", ["None", "mro", "class", "True"])
def test_a_value_that_python_enums_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path, KIND.replace("A", f"A\n  {name}") + NOTE)
    assert f"value {name} of enum Kind: " in message
    assert f'@map("{name}")' in message


def test_all_names_are_said_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, with_field("models String?") + "model tx {\n  id Int @id\n}\n")
    assert re.findall(r"^  (\w+) (\S+):", message, re.MULTILINE) == [("field", "Note.models"), ("model", "tx")]


USABLE = (
    KIND.replace("A", "A\n  name\n  value\n  title\n  match")
    + with_field(
        "Any String?\n  count Int?\n  type String?\n  str String?\n  client String?\n  datetime DateTime"
    ).removeprefix(KIND)
    + '/// @Python(instance_name: "transfer")\nmodel tx {\n  id Int @id\n}\n'
    + '/// @Python(instance_name: "big_note")\nmodel NOTE {\n  id Int @id\n}\n'
    + "model Sequence {\n  id Int @id\n}\nmodel Type {\n  id Int @id\n}\nmodel Batch {\n  id Int @id\n}\n"
)


def test_names_that_work_are_taken(tmp_path: Path) -> None:
    """Generation imports the package, so what it wrote can be imported."""
    schema = tmp_path / "schema.prisma"
    schema.write_text(HEAD + USABLE)
    assert (generate(schema, wasm_dir=MODULES, warm_up=False).output / "client.py").is_file()


def test_a_client_that_cannot_be_imported_does_not_replace_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that is wrong with the installation, here a module that fails, is said with its last line."""
    schema = tmp_path / "schema.prisma"
    schema.write_text(HEAD + KIND + NOTE)
    output = generate(schema, wasm_dir=MODULES, warm_up=False).output
    before = (output / "client.py").read_bytes()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "httpx.py").write_text("raise RuntimeError('half installed')\n")
    monkeypatch.syspath_prepend(str(broken))
    schema.write_text(HEAD + KIND + NOTE.replace("Note", "Memo"))
    with pytest.raises(GenerationError, match="RuntimeError: half installed") as refused:
        generate(schema, wasm_dir=MODULES, warm_up=False)
    assert str(output) in str(refused.value)
    assert (output / "client.py").read_bytes() == before
