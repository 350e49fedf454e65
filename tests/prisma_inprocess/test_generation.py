"""`generate`: what it writes, how often it may run, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prisma_inprocess import GenerationError, generate
from prisma_inprocess.__main__ import main
from prisma_inprocess.cli_generator import serve
from prisma_inprocess.datasource import strip_urls
from tests.prisma_inprocess.workbench import SCHEMAS

MODULES = Path("node_modules").resolve()


def small_schema(folder: Path, *, provider: str = "sqlite", generator: str = 'provider = "prisma_inprocess"') -> Path:
    schema = folder / "schema.prisma"
    schema.write_text(
        f"""
generator client {{
  {generator}
  output = "./app/client"
}}

datasource db {{
  provider = "{provider}"
  url      = env("DATABASE_URL")
}}

model Note {{
  id   Int    @id @default(autoincrement())
  text String
}}
"""
    )
    return schema


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_generating_again_writes_the_same(tmp_path: Path) -> None:
    schema = small_schema(tmp_path)
    first = contents(generate(schema, wasm_dir=MODULES).output)
    second = contents(generate(schema, wasm_dir=MODULES).output)
    assert first == second
    assert {"client.py", "_inprocess.py", "py.typed", "_engine/graph.json", "_engine/query_compiler.wasm"} <= set(first)


_ALONE = """
import asyncio
from app.client import Prisma

async def main():
    async with Prisma(datasource={"url": "file::memory:"}, use_dotenv=False) as client:
        await client.execute_raw("CREATE TABLE Note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        print((await client.note.create(data={"text": "hello"})).text)

asyncio.run(main())
"""


def test_a_generated_client_needs_nothing_but_its_own_folder(tmp_path: Path) -> None:
    generate(small_schema(tmp_path), wasm_dir=MODULES)
    environment = {**os.environ, "PATH": "", "HOME": "/nonexistent", "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-c", _ALONE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = small_schema(tmp_path, generator='provider = "prisma-client-py"')
    assert main(["generate", "--schema", str(schema), "--wasm-dir", str(MODULES)]) == 0
    assert str(tmp_path / "app" / "client") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("sqlite", "mysql"), "mysql"),
        (('provider = "prisma_inprocess"', 'provider = "prisma-client-js"'), "generator"),
        (('  output = "./app/client"\n', ""), "output"),
        (("text String", "text Strin"), "Strin"),
        (('provider = "prisma_inprocess"', 'provider = "prisma_inprocess"\n  interface = "sync"'), "sync"),
        (("model Note", "model class"), "class"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], says: str
) -> None:
    schema = small_schema(tmp_path)
    schema.write_text(schema.read_text().replace(*change))
    assert main(["generate", "--schema", str(schema), "--wasm-dir", str(MODULES)]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "app").exists()


def test_missing_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GenerationError, match=r"nothing\.prisma"):
        generate(tmp_path / "nothing.prisma")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GenerationError, match="npm ci"):
        generate(small_schema(tmp_path))
    with pytest.raises(GenerationError, match="wasm"):
        generate(small_schema(tmp_path), wasm_dir=tmp_path)


def test_a_folder_with_other_things_in_it_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "app" / "client"
    target.mkdir(parents=True)
    (target / "precious.txt").write_text("mine")
    with pytest.raises(GenerationError, match="not empty"):
        generate(small_schema(tmp_path), wasm_dir=MODULES)
    assert contents(target) == {"precious.txt": b"mine"}


def test_urls_are_taken_out_of_the_datasource_only() -> None:
    text = 'datasource db {\n  provider = "sqlite"\n  url = "file:./a.db" // here\n}\nmodel A {\n  url String @id\n}\n'
    stripped, url = strip_urls(text)
    assert "file:./a.db" not in stripped
    assert "url String" in stripped
    assert url == {"fromEnvVar": None, "value": "file:./a.db"}


_TYPED = """
from rich_app.clients.rich_sqlite import Prisma
from rich_app.clients.rich_sqlite.models import Step
from rich_app.clients.rich_sqlite.types import FindManyPostArgsFromUser, UserInclude, UserWhereInput


async def use(db: Prisma) -> list[int]:
    step = await db.step.create(data={"runId": "r", "seq": 1, "name": "n"})
    found: Step | None = await db.step.find_unique(where={"runId_seq": {"runId": "r", "seq": 1}})
    async with db.tx() as tx:
        await tx.step.delete_many(where={"seq": {"in": [1, 2]}})
    rows = await db.query_raw("SELECT * FROM steps", model=Step)
    where: UserWhereInput = {"posts": {"some": {"title": {"startswith": "a"}}}, "NOT": [{"email": "b"}]}
    posts: FindManyPostArgsFromUser = {"take": 1, "include": {"tags": True, "user": {"include": {"profile": True}}}}
    include: UserInclude = {"posts": posts, "profile": True}
    await db.user.find_many(where=where, include=include)
    return [step.seq, found.seq if found else 0, *(row.seq for row in rows)]


async def misuse(db: Prisma) -> None:
    await db.step.create(data={"runId": 1, "seq": 1, "name": "n"})  # type: ignore[typeddict-item]
    await db.step.find_unique(where={"nope": 1})  # type: ignore[arg-type]
    await db.user.find_many(include={"posts": {"include": {"nope": True}}})  # type: ignore[arg-type]
    await db.user.find_many(where={"posts": {"some": {"nope": 1}}})  # type: ignore[arg-type]
    wrong: str = await db.step.count()  # type: ignore[assignment]
"""


@pytest.mark.slow
def test_users_get_the_clients_own_types_under_mypy_strict(tmp_path: Path) -> None:
    """Without a configuration: the generated code, which is not theirs to mend, is not judged."""
    schema = tmp_path / "rich_app" / "schema.prisma"
    schema.parent.mkdir()
    (schema.parent / "__init__.py").touch()
    schema.write_text((SCHEMAS / "rich.sqlite.prisma").read_text())
    generate(schema, wasm_dir=MODULES)
    (tmp_path / "use.py").write_text(_TYPED)
    # What mypy found out about the libraries is kept for the next time; it looks again at what has changed.
    cache = MODULES.parent / ".mypy_cache" / "generated"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", str(cache), "use.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": f"{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_partial_types_are_written_by_the_users_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "partial_app"
    folder.mkdir()
    (folder / "__init__.py").touch()
    script = "from partial_app.client.models import Note\nNote.create_partial('NoteText', include={'text'})\n"
    (tmp_path / "partial_script.py").write_text(script)
    schema = small_schema(
        tmp_path, generator='provider = "prisma_inprocess"\n  partial_type_generator = "partial_script.py"'
    )
    schema.write_text(schema.read_text().replace("./app/client", "./partial_app/client"))
    output = generate(schema, wasm_dir=MODULES).output
    assert "class NoteText(bases.BaseNote)" in (output / "partials.py").read_text()


def test_a_failed_generation_leaves_the_old_client_as_it_was(tmp_path: Path) -> None:
    schema = small_schema(tmp_path)
    before = contents(generate(schema, wasm_dir=MODULES).output)
    schema.write_text(schema.read_text().replace("model Note", "model class"))
    with pytest.raises(GenerationError):
        generate(schema, wasm_dir=MODULES)
    assert contents(tmp_path / "app" / "client") == before
    assert [entry.name for entry in (tmp_path / "app").iterdir()] == ["client"]


def test_the_prisma_cli_may_drive_the_generator(tmp_path: Path) -> None:
    """The CLI's side of the conversation, line by line."""
    schema = small_schema(tmp_path, generator='provider = "python -m prisma_inprocess"')
    requests = [
        {"jsonrpc": "2.0", "id": 1, "method": "getManifest", "params": {}},
        {"jsonrpc": "2.0", "id": 2, "method": "generate", "params": {"schemaPath": str(schema)}},
        {"jsonrpc": "2.0", "id": 3, "method": "generate", "params": {"schemaPath": str(tmp_path / "nothing.prisma")}},
    ]
    answers = io.StringIO()
    serve([json.dumps(request) + "\n" for request in requests], answers)
    manifest, generated, failed = map(json.loads, answers.getvalue().splitlines())
    assert manifest["result"]["manifest"]["requiresEngines"] == []
    assert generated == {"jsonrpc": "2.0", "id": 2, "result": None}
    assert (tmp_path / "app" / "client" / "client.py").is_file()
    assert "nothing.prisma" in failed["error"]["message"]
