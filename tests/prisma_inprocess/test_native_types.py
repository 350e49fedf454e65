"""Native types of PostgreSQL mean what they mean in Prisma's own runtime, or are refused by name."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from types import ModuleType
from typing import Any, Final

import asyncpg
import pytest

from prisma_inprocess import generate
from tests.prisma_inprocess.workbench import MODULES, SCHEMAS
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.postgres
UTC: Final = dt.UTC


def at(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    root = tmp_path_factory.mktemp("native")
    app = root / "native_app"
    app.mkdir()
    (app / "__init__.py").touch()
    schema = app / "native.postgresql.prisma"
    schema.write_text((SCHEMAS / schema.name).read_text())
    generate(schema, wasm_dir=MODULES)
    sys.path.insert(0, str(root))
    yield importlib.import_module("native_app.clients.native_postgresql")
    sys.path.remove(str(root))


@pytest.fixture(scope="module")
def native_url(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"native_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    postgres_server.sql((SCHEMAS / "native.postgresql.sql").read_text(), name)
    yield url
    postgres_server.drop_database(name)


@pytest.fixture
async def server(native_url: str) -> AsyncIterator[Any]:
    """A plain connection to the empty table."""
    connection = await asyncpg.connect(native_url)
    await connection.execute('TRUNCATE "Native"')
    yield connection
    await connection.close()


@pytest.fixture
async def db(native: ModuleType, native_url: str, server: Any) -> AsyncIterator[Any]:
    async with native.Prisma(datasource={"url": native_url}, use_dotenv=False) as client:
        yield client


ROUND_TRIPS: Final[list[tuple[str, Any, str]]] = [
    ("day", at(9999, 12, 31), "9999-12-31"),
    ("day", at(1, 1, 1), "0001-01-01"),
    ("stamp", at(9999, 12, 31, 23, 59, 59, 999000), "9999-12-31 23:59:59.999"),
    ("clock", at(1970, 1, 1, 23, 59, 59, 999000), "23:59:59.999"),
    ("clockz", at(1970, 1, 1, 12, 30, 0, 250000), "12:30:00.25+00"),
    ("number", Decimal("123456789012345.12345"), "123456789012345.12345"),
    ("single", 0.1, "0.1"),
    ("single", -1.5e-30, "-1.5e-30"),
    ("money", Decimal("-1234567.89"), "-$1,234,567.89"),
    ("bit", "1010", "1010"),
    ("varbit", "101", "101"),
    ("inet", "10.0.0.1", "10.0.0.1/32"),
    ("days", [at(2024, 2, 29), at(9999, 12, 31)], "{2024-02-29,9999-12-31}"),
    ("clocks", [at(1970, 1, 1, 10, 0, 0, 5000)], "{10:00:00.005}"),
    ("reals", [0.1, 0.25], "{0.1,0.25}"),
    ("moneys", [Decimal("1.25"), Decimal(-3)], "{$1.25,-$3.00}"),
    ("bits", ["1010", "0101"], "{1010,0101}"),
]


@pytest.mark.parametrize(("field", "value", "text"), ROUND_TRIPS, ids=lambda value: str(value)[:30])
async def test_a_value_is_written_read_and_found(db: Any, server: Any, field: str, value: Any, text: str) -> None:
    created = await db.native.create(data={field: value})
    assert getattr(created, field) == value
    assert await server.fetchval(f'SELECT "{field}"::text FROM "Native"') == text
    found = {"equals": value} if isinstance(value, list) else value
    assert await db.native.count(where={field: found}) == 1
    if isinstance(value, list):
        assert await db.native.count(where={field: {"has": value[0]}}) == 1
        assert await db.native.count(where={field: {"has_some": value}}) == 1
    else:
        assert await db.native.count(where={field: {"in": [value]}}) == 1
    assert getattr(await db.native.update(where={"id": created.id}, data={field: value}), field) == value


async def test_a_list_of_json_is_compared_as_a_whole(db: Any, native: ModuleType) -> None:
    values = [native.Json({"a": [1, None]}), native.Json("x"), native.Json(None)]
    await db.native.create(data={"jsons": values})
    assert await db.native.count(where={"jsons": {"equals": values}}) == 1
    assert await db.native.count(where={"jsons": {"equals": values[:2]}}) == 0
    assert await db.native.count(where={"jsons": {"equals": []}}) == 0
    assert await db.native.count(where={"jsons": {"has": values[0]}}) == 1
    row = await db.native.find_first()
    updated = await db.native.update(where={"id": row.id}, data={"jsons": {"set": [native.Json(1)]}})
    assert updated.jsons == [1]
    pushed = await db.native.update(where={"id": row.id}, data={"jsons": {"push": [native.Json([2])]}})
    assert pushed.jsons == [1, [2]]
    assert await db.native.count(where={"jsons": {"equals": [native.Json(1), native.Json([2])]}}) == 1


async def test_lists_of_bytes_and_times_are_set_and_pushed(db: Any, native: ModuleType) -> None:
    one, two = native.Base64.encode(b"one"), native.Base64.encode(b"two")
    morning, evening = at(1970, 1, 1, 8), at(1970, 1, 1, 20)
    row = await db.native.create(data={})
    for operator in ("set", "push"):
        changes = {"blobs": {operator: [one, two]}, "clocks": {operator: [morning, evening]}}
        row = await db.native.update(where={"id": row.id}, data=changes)
    assert [blob.decode() for blob in row.blobs] == [b"one", b"two"] * 2
    assert row.clocks == [morning, evening] * 2
    for field, values in (("blobs", [one, two]), ("clocks", [morning, evening])):
        assert await db.native.count(where={field: {"has_every": values}}) == 1
        assert await db.native.count(where={field: {"equals": values * 2}}) == 1


async def test_a_time_with_a_zone_is_read_without_it_as_by_prisma(db: Any, server: Any) -> None:
    await server.execute("""INSERT INTO "Native" (clockz) VALUES ('12:30:00.5+05:30')""")
    assert (await db.native.find_first()).clockz == at(1970, 1, 1, 12, 30, 0, 500000)


async def test_microseconds_of_other_programs_are_read(db: Any, server: Any) -> None:
    await server.execute("""INSERT INTO "Native" (stamp, zoned) VALUES ('2024-01-01 00:00:00.123456', '2024-01-01Z')""")
    assert (await db.native.find_first()).stamp == at(2024, 1, 1, 0, 0, 0, 123456)


UNREADABLE: Final = [
    ("day", "'infinity'::date", "infinity"),
    ("day", "'-infinity'::date", "infinity"),
    ("day", "'4713-01-01 BC'::date", "outside of the years"),
    ("day", "'10000-01-01'::date", "outside of the years"),
    ("stamp", "'infinity'::timestamp", "infinity"),
    ("zoned", "'-infinity'::timestamptz", "infinity"),
    ("stamps", "ARRAY['infinity'::timestamp]", "infinity"),
    ("clock", "'24:00'::time", "24:00"),
    ("clockz", "'24:00'::timetz", "24:00"),
    ("clocks", "ARRAY['24:00'::time]", "24:00"),
    ("number", "'NaN'::numeric", "NaN"),
    ("decs", "ARRAY['NaN'::numeric]", "NaN"),
    ("texts", "ARRAY['a', NULL]", "NULL"),
    ("nums", "ARRAY[1, NULL]", "NULL"),
    ("bools", "ARRAY[true, NULL]", "NULL"),
    ("uids", "ARRAY[NULL]::uuid[]", "NULL"),
    ("texts", "ARRAY[['a', 'b'], ['c', 'd']]", "list of lists"),
    ("nums", "ARRAY[[1, 2], [3, 4]]", "list of lists"),
    ("bools", "ARRAY[[true], [false]]", "list of lists"),
]


@pytest.mark.parametrize(("field", "value", "reason"), UNREADABLE, ids=lambda value: str(value)[:30])
async def test_a_value_that_the_client_cannot_hold_is_refused_by_its_column(
    db: Any, native: ModuleType, server: Any, field: str, value: str, reason: str
) -> None:
    await server.execute(f'INSERT INTO "Native" ("{field}") VALUES ({value})')
    with pytest.raises(native.errors.PrismaError, match=f"column `{field}` holds .*{reason}") as failure:
        await db.native.find_first()
    assert (failure.value.code, failure.value.meta) == ("P2023", {"column": field})
    # The row can be counted, found and deleted.
    assert await db.native.count() == 1
    assert await db.native.delete_many() == 1


@pytest.mark.parametrize("value", ["'4713-01-01 BC'::timestamp", "'20000-01-01'::timestamp"])
async def test_a_timestamp_out_of_range_is_refused(db: Any, native: ModuleType, server: Any, value: str) -> None:
    await server.execute(f'INSERT INTO "Native" (stamp) VALUES ({value})')
    with pytest.raises(native.errors.PrismaError) as failure:
        await db.native.find_first()
    assert failure.value.code == "P2023"
    assert await db.native.count() == 1


async def test_null_in_a_list_of_json_is_jsons_null_as_by_prisma(db: Any, server: Any) -> None:
    await server.execute("""INSERT INTO "Native" (jsons) VALUES (ARRAY['1'::jsonb, NULL])""")
    assert (await db.native.find_first()).jsons == [1, None]


async def test_the_moment_that_asyncpg_takes_for_infinity_is_refused(db: Any, native: ModuleType) -> None:
    for field in ("stamp", "zoned"):
        with pytest.raises(native.errors.PrismaError, match="0001-01-01") as failure:
            await db.native.create(data={field: at(1, 1, 1)})
        assert failure.value.code == "P2020"
    assert await db.native.count() == 0


async def test_raw_queries_know_these_types_too(db: Any) -> None:
    [row] = await db.query_raw(
        "SELECT $1::date AS day, $2::time AS clock, $3::real AS single, $4::bit(4) AS bit, $5::money AS money,"
        " 'infinity'::date AS never, '24:00'::time AS late",
        dt.date(9999, 12, 31),
        dt.time(10, 30),
        0.1,
        "1010",
        Decimal("1.25"),
    )
    assert row == {
        "day": "9999-12-31",
        "clock": "10:30:00",
        "single": 0.1,
        "bit": "1010",
        "money": "$1.25",
        "never": "a date outside of the years 1 to 9999, or infinity",
        "late": "the time 24:00",
    }
