"""Large schemas: types that grow with the number of models, and models that are built when they are first used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prisma_inprocess import generate
from prisma_inprocess.model_building import LARGE

pytestmark = pytest.mark.slow

MODULES = Path("node_modules").resolve()
HEAD = """
generator client {
  provider = "prisma_inprocess"
  output   = "./app/client"
}

datasource db {
  provider = "sqlite"
  url      = env("DATABASE_URL")
}
"""


def chain(length: int) -> str:
    """Models of which each is related to the next one."""
    models = []
    for number in range(length):
        fields = ["id Int @id @default(autoincrement())", "name String"]
        if number + 1 < length:
            fields += ["nextId Int? @unique", f"next M{number + 1}? @relation(fields: [nextId], references: [id])"]
        if number > 0:
            fields.append(f"previous M{number - 1}?")
        models.append(f"model M{number} {{\n  " + "\n  ".join(fields) + "\n}\n")
    return HEAD + "\n".join(models)


def generated(folder: Path, schema: str) -> Path:
    file = folder / "schema.prisma"
    file.write_text(schema)
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app" / "__init__.py").touch()
    return generate(file, wasm_dir=MODULES, warm_up=False).output


def run(folder: Path, script: str) -> Any:
    """What a fresh process prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{folder}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_types_grow_with_the_number_of_models(tmp_path: Path) -> None:
    sizes = []
    for length in (5, 10, 20):
        output = generated(tmp_path, chain(length))
        sizes.append((output / "_declared_types.py").stat().st_size)
    first, second = sizes[1] - sizes[0], sizes[2] - sizes[1]
    assert second < 2.2 * first


_IMPORT = """
import json, sys
import app.client
loaded = "app.client._declared_types" in sys.modules
from app.client.types import M0WhereInput
print(json.dumps([loaded, "app.client._declared_types" in sys.modules, "prisma" in sys.modules, M0WhereInput.__name__]))
"""


@pytest.mark.parametrize("length", [2, LARGE])
def test_a_client_loads_its_types_when_one_is_asked_for(tmp_path: Path, length: int) -> None:
    generated(tmp_path, chain(length))
    assert run(tmp_path, _IMPORT) == [False, True, False, "M0WhereInput"]


_USE = """
import asyncio, json, sys
from threading import Thread
from app.client import Prisma, models
from pydantic import TypeAdapter

async def main():
    async with Prisma(datasource={"url": "file::memory:"}, use_dotenv=False) as db:
        for name, other in (("M0", "nextId INTEGER"), ("M1", "nextId INTEGER")):
            await db.execute_raw(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, {other})")
        data = {"name": "first", "next": {"create": {"name": "second"}}}
        return (await db.m0.create(data=data, include={"next": True})).model_dump_json(exclude_none=True)

schemas = []
threads = [Thread(target=lambda: schemas.append(models.M5.model_json_schema())) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
limit = sys.getrecursionlimit()
answer = TypeAdapter(list[models.M1]).json_schema()
print(json.dumps([asyncio.run(main()), len(schemas), len(answer["$defs"]), limit]))
"""


@pytest.mark.parametrize("length", [LARGE - 1, LARGE, 60])
def test_a_chain_of_models_is_imported_and_used(tmp_path: Path, length: int) -> None:
    """Also from several threads at once, and as part of another type, as FastAPI uses it."""
    generated(tmp_path, chain(length))
    stored, schemas, definitions, limit = run(tmp_path, _USE)
    assert json.loads(stored) == {"id": 1, "name": "first", "nextId": 1, "next": {"id": 1, "name": "second"}}
    assert (schemas, definitions, limit) == (4, length, 1000)


_MEMORY = """
import pathlib
import app.client
lines = pathlib.Path("/proc/self/status").read_text().splitlines()  # getrusage would count the parent's memory
print(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""


@pytest.mark.slow
def test_a_client_of_two_hundred_models_is_imported_within_300_megabytes(tmp_path: Path) -> None:
    generated(tmp_path, chain(200))
    kilobytes: int = run(tmp_path, _MEMORY)
    assert kilobytes < 300 * 1024
