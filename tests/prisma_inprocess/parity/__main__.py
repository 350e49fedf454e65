"""The same operations here and through Prisma's official JavaScript runtime: `python -m tests.prisma_inprocess.parity`.

For each operation it compares the parameterised request, the query plan, the outcome (result or error code), and at the
end every row of every table. Needs Node, and `npm ci` in this folder.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import datetime as dt
import json
import math
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import orjson

import prisma_inprocess.operation
from prisma_inprocess import EngineError
from prisma_inprocess.datasource import strip_urls
from prisma_inprocess.operation import Operation
from prisma_inprocess.request import RequestBuilder
from prisma_inprocess.schema_engine import SchemaEngine
from tests.prisma_inprocess.parity.operations import Operations
from tests.prisma_inprocess.workbench import MODULES, SCHEMAS, Rich, create_sqlite_file, generate_rich_packages
from tests.support.postgres import postgres_server

HERE: Final = Path(__file__).parent
TABLES: Final = ("User", "Profile", "Post", "Tag", "_PostToTag", "steps")
# Made by the client at the moment of writing, so never equal: only their shape is compared.
GENERATED: Final = ("uuid4", "uuid7", "cuid1", "cuid2", "nano", "ulid")


class LiteralBuilder(RequestBuilder):
    """Builds the request that the official client would send: with values in the place of placeholders."""

    def _placeholder(self, value: Any, kind: str, inner: str | None = None) -> Any:
        if inner is not None:
            return [self._placeholder(item, inner) for item in value]
        if kind == "Enum":
            names = {stored: name for enum in self._graph.data["enums"].values() for name, stored in enum.items()}
            return names[value]
        if isinstance(value, dt.datetime):
            return {"$type": "DateTime", "value": value.isoformat().replace("+00:00", "Z")}
        if isinstance(value, Decimal):
            return {"$type": "Decimal", "value": str(value)}
        if isinstance(value, bytes):
            return {"$type": "Bytes", "value": base64.b64encode(value).decode()}
        if kind == "Json":
            return {"$type": "Json", "value": value}
        if kind == "BigInt":
            return {"$type": "BigInt", "value": str(value)}
        return value


class Capture:
    """Runs operations on this engine and keeps what the other side needs to repeat them."""

    def __init__(self, rich: Rich) -> None:
        self._rich = rich
        self.records: list[dict[str, Any]] = []

    async def run(self) -> None:
        async with self._rich.client() as db:
            engine = db._engine
            compiler = engine._package._make_compiler(None)
            original = engine._run

            label = ""  # of the operation that runs; the engine sees only its call

            async def capturing(operation: Operation, session: Any) -> Any:
                record: dict[str, Any] = {"label": label, "plan": None, "error": None, "result": None}
                self.records.append(record)
                with patch.object(prisma_inprocess.operation, "RequestBuilder", LiteralBuilder):
                    record["literal"] = engine._encoder.encode(operation)[0]
                record["request"] = engine._encoder.encode(operation)[0]
                try:
                    record["plan"] = compiler.compile(orjson.dumps(record["request"]).decode())
                    record["result"] = await original(operation, session)
                except EngineError as error:
                    record["error"] = {"code": error.code, "message": error.message, "meta": error.meta}
                    raise
                return record["result"]

            engine._run = capturing
            for name, operation in Operations(self._rich).all():
                label = name
                with contextlib.suppress(self._rich.errors.PrismaError):
                    await operation(db)


def replay(rich: Rich, url: str, records: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Repeat captured operations on the official runtime."""
    datamodel, _ = strip_urls((SCHEMAS / f"rich.{rich.provider}.prisma").read_text())
    (folder / "schema.prisma").write_text(datamodel)
    engine = SchemaEngine(MODULES / "@prisma/prisma-schema-wasm/src/prisma_schema_build_bg.wasm")
    (folder / "dmmf.json").write_text(json.dumps(engine.dmmf(datamodel)))
    keys = ("label", "literal", "request", "plan")
    lines = "\n".join(json.dumps({key: record[key] for key in keys}) for record in records)
    command = [
        "node",
        str(HERE / "replay.mjs"),
        rich.provider,
        url,
        str(folder / "schema.prisma"),
        str(folder / "dmmf.json"),
    ]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        sys.exit(f"the official runtime failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """Where a result of this engine and one of the official runtime (tagged values) first differ, None if nowhere."""
    field = path.rpartition(".")[2]
    if field in GENERATED and isinstance(ours, str) and isinstance(theirs, str) and len(ours) == len(theirs):
        return None
    if field == "updated" and isinstance(ours, dt.datetime) and isinstance(theirs, dict):
        return None if abs(ours - _instant(theirs["value"])) < dt.timedelta(minutes=5) else path
    if (
        isinstance(theirs, dict)
        and "$type" not in theirs
        and isinstance(ours, Mapping)
        and ours.keys() == theirs.keys()
    ):
        places = (difference(ours[key], theirs[key], f"{path}.{key}") for key in theirs)
        return next((place for place in places if place is not None), None)
    if isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        places = (difference(*pair, f"{path}[{index}]") for index, pair in enumerate(zip(ours, theirs, strict=True)))
        return next((place for place in places if place is not None), None)
    tagged = isinstance(theirs, dict) and "$type" in theirs
    is_same = _same_tagged(ours, theirs["$type"], theirs["value"]) if tagged else bool(ours == theirs)
    return None if is_same else f"{path or 'result'}: here {ours!r}, official {theirs!r}"


def _same_tagged(ours: Any, kind: str, value: Any) -> bool:
    if kind == "DateTime":
        return isinstance(ours, dt.datetime) and ours == _instant(value)
    if kind == "BigInt":
        return type(ours) is int and ours == int(value)
    if kind == "Decimal":
        return isinstance(ours, Decimal) and ours == Decimal(str(value))
    if kind == "Json":
        return isinstance(ours, str) and json.loads(ours) == json.loads(value)
    if kind == "Number":
        return isinstance(ours, float) and (math.isnan(ours) if value == "NaN" else ours == float(value))
    return bool(ours == value)


def _instant(value: Any) -> dt.datetime:
    return (
        dt.datetime.fromtimestamp(value / 1000, dt.UTC) if isinstance(value, int) else dt.datetime.fromisoformat(value)
    )


def outcome_difference(record: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    ours, theirs = record["error"], answer.get("error")
    if ours is None and theirs is None:
        return difference(record["result"], answer.get("result"))
    if ours is not None and theirs is not None and ours["code"] == theirs["code"]:
        return None
    return f"here {ours or record['result']}, official {theirs or answer.get('result')}"


async def rows_of(rich: Rich) -> dict[str, list[str]]:
    """Every row of every table, in an order of its own."""
    async with rich.client() as db:
        found = {}
        for table in TABLES:
            rows = await db.query_raw(f'SELECT * FROM "{table}"')
            for row in rows:
                row.pop("updated", None)
            found[table] = sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
        return found


class Report:
    """What is equal and what is not."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self.equal: Counter[str] = Counter()
        self.operations = 0
        self.all_equal = 0

    def compare(self, record: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        differences = {
            "request": None if answer["sameRequest"] else f"here {record['request']}, official {answer['request']}",
            "plan": None if answer["samePlan"] else f"official {answer.get('plan', answer.get('planError'))}",
            "outcome": outcome_difference(record, answer),
        }
        self.operations += 1
        self.all_equal += not any(differences.values())
        for name, found in differences.items():
            self.equal[name] += found is None
            if found is not None:
                print(f"  DIFFERENT {name} of {record['label']}: {found[: 5000 if self._verbose else 700]}")


def compare(rich: Rich, official: Rich, folder: Path, *, verbose: bool) -> bool:
    """Run everything on one provider. Returns whether all is equal."""
    capture = Capture(rich)
    asyncio.run(capture.run())
    answers = replay(rich, official.url, capture.records, folder)
    report = Report(verbose=verbose)
    for record, answer in zip(capture.records, answers, strict=True):
        report.compare(record, answer)
    here, there = asyncio.run(rows_of(rich)), asyncio.run(rows_of(official))
    tables = sum(here[table] == there[table] for table in TABLES)
    for table in TABLES:
        if here[table] != there[table]:
            print(f"  DIFFERENT rows: {table}")
            print(f"    here:     {sorted(set(here[table]) - set(there[table]))[:3]}")
            print(f"    official: {sorted(set(there[table]) - set(here[table]))[:3]}")
    parts = ", ".join(f"{name}s {report.equal[name]}" for name in ("request", "plan", "outcome"))
    print(f"{rich.provider}: {parts}, tables {tables} of {len(TABLES)}")
    print(f"{rich.provider}: {report.operations} operations, {report.all_equal} equal", flush=True)
    return report.all_equal == report.operations and tables == len(TABLES)


@contextlib.contextmanager
def databases(root: Path) -> Any:
    """For each provider, a client with a database for this engine and one for the official runtime."""
    packages = generate_rich_packages(root)
    create_sqlite_file(root / "here.db")
    create_sqlite_file(root / "official.db")
    with postgres_server() as server:
        names = [f"parity_{uuid.uuid4().hex[:12]}" for _ in range(2)]
        urls = [server.create_database(name) for name in names]
        try:
            for name in names:
                server.sql((SCHEMAS / "rich.postgresql.sql").read_text(), name)
            yield [
                [Rich("sqlite", packages["sqlite"], f"file:{root}/{name}.db") for name in ("here", "official")],
                [Rich("postgresql", packages["postgresql"], url) for url in urls],
            ]
        finally:
            for name in names:
                server.drop_database(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="show differences at length")
    options = parser.parse_args()
    if shutil.which("node") is None or not (HERE / "node_modules").is_dir():
        print(f"parity needs Node, and `npm ci` in {HERE.relative_to(Path.cwd())}", file=sys.stderr)
        return 2
    equal = True
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as pairs:
        for here, official in pairs:
            equal = compare(here, official, Path(folder), verbose=options.verbose) and equal
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
