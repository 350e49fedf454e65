"""A SQLite file keeps its one format of dates, and converters that others register change no row."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from prisma_inprocess import ConfigurationError, generate
from prisma_inprocess.__main__ import main
from tests.prisma_inprocess.workbench import MODULES, SCHEMAS

UTC: Final = dt.UTC
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=UTC)
FORMATS: Final = ("iso8601", "unixepoch-ms")
PAST: Final = dt.datetime(2014, 3, 1, 12, 30, 15, 250000, tzinfo=UTC)
LATER: Final = dt.datetime(2024, 3, 1, 12, 30, 15, 250000, tzinfo=UTC)
BEFORE_1970: Final = dt.datetime(1969, 7, 20, 20, 17, 40, 123000, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    root = tmp_path_factory.mktemp("dates")
    app = root / "dates_app"
    app.mkdir()
    (app / "__init__.py").touch()
    schema = app / "dates.sqlite.prisma"
    schema.write_text((SCHEMAS / schema.name).read_text())
    generate(schema, wasm_dir=MODULES)
    sys.path.insert(0, str(root))
    yield importlib.import_module("dates_app.clients.dates_sqlite")
    sys.path.remove(str(root))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the tables, and nothing in them."""
    file = tmp_path / "dates.db"
    connection = sqlite3.connect(file)
    connection.executescript((SCHEMAS / "dates.sqlite.sql").read_text())
    connection.close()
    return file


def stored(moment: dt.datetime, form: str) -> int | str:
    """A time as another program wrote it."""
    if form == "unixepoch-ms":
        return (moment - EPOCH) // dt.timedelta(milliseconds=1)
    return moment.isoformat(timespec="milliseconds")


def write(path: Path, *rows: tuple[str, Any]) -> None:
    """Write events past the client: names and times, in whatever form."""
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO events (name, happens_at, made, changed, since) VALUES (?, ?, ?, ?, ?)",
            [(name, at, at, at, at) for name, at in rows],
        )
    connection.close()


def read(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def open_client(client: ModuleType, path: Path, options: str = "") -> Any:
    return client.Prisma(datasource={"url": f"file:{path}{options}"}, use_dotenv=False)


@pytest.mark.parametrize("form", FORMATS)
async def test_filters_order_keys_and_cursors_hold_in_the_form_of_the_file(
    client: ModuleType, path: Path, form: str
) -> None:
    write(path, ("past", stored(PAST, form)), ("later", stored(LATER, form)), ("first", stored(BEFORE_1970, form)))
    async with open_client(client, path) as db:
        between = dt.datetime(2020, 1, 1, tzinfo=UTC)
        assert (await db.event.find_unique(where={"at": PAST})).name == "past"
        assert [event.name for event in await db.event.find_many(order={"at": "asc"})] == ["first", "past", "later"]
        page = await db.event.find_many(order={"at": "asc"}, cursor={"at": PAST})
        assert [event.name for event in page] == ["past", "later"]
        created = await db.event.create(data={"name": "new", "at": between})
        assert [
            event.name for event in await db.event.find_many(where={"at": {"gte": between}}, order={"at": "asc"})
        ] == [
            "new",
            "later",
        ]
        with pytest.raises(client.errors.UniqueViolationError):
            await db.event.create(data={"name": "again", "at": LATER})
        upserted = await db.event.upsert(
            where={"at": PAST}, data={"create": {"name": "no", "at": PAST}, "update": {"name": "kept"}}
        )
        assert upserted.id == 1
        assert await db.event.count(where={"at": {"in": [PAST, LATER, BEFORE_1970]}}) == 3
        many = [PAST + dt.timedelta(days=day) for day in range(40_000)]
        assert await db.event.count(where={"at": {"in": many}}) == 2
        assert await db.event.delete_many(where={"at": {"lt": between}}) == 2
        assert [event.name for event in await db.event.find_many(order={"at": "asc"})] == ["new", "later"]
        assert await db.query_raw("SELECT name FROM events WHERE happens_at < ?", LATER) == [{"name": "new"}]
        assert created.since == dt.datetime(2020, 1, 1, tzinfo=UTC)
    types = {
        name
        for row in read(path, "SELECT typeof(happens_at), typeof(made), typeof(changed), typeof(since) FROM events")
        for name in row
    }
    assert types == {"integer" if form == "unixepoch-ms" else "text"}


@pytest.mark.parametrize("form", FORMATS)
async def test_a_page_that_is_made_in_memory_begins_at_a_date(client: ModuleType, path: Path, form: str) -> None:
    async with open_client(client, path, f"?timestampFormat={form}") as db:
        for name in "ab":
            days = [PAST + dt.timedelta(days=day + (name == "b") * 100) for day in range(4)]
            series = {"create": [{"name": f"{name}{n}", "at": at} for n, at in enumerate(days)]}
            await db.series.create(data={"name": name, "events": series})
        page = {"cursor": {"at": PAST + dt.timedelta(days=1)}, "order_by": {"at": "asc"}, "take": 2}
        found = await db.series.find_many(include={"events": page}, order={"name": "asc"})
        assert [[event.name for event in series.events] for series in found] == [["a1", "a2"], []]


@pytest.mark.parametrize("form", FORMATS)
async def test_raw_queries_take_dates_and_give_iso_text_in_either_form(
    client: ModuleType, path: Path, form: str
) -> None:
    early = dt.datetime(1970, 1, 2, tzinfo=UTC)
    write(path, ("past", stored(PAST, form)), ("early", stored(early, form)))
    async with open_client(client, path) as db:
        [row] = await db.query_raw("SELECT happens_at AS at FROM events WHERE happens_at = ?", PAST)
        assert row == {"at": PAST.isoformat(timespec="milliseconds")}
        [event] = await db.query_raw(
            "SELECT id, name, happens_at AS at, made, changed, since FROM events WHERE happens_at < ?",
            dt.date(2000, 1, 1),
            model=client.models.Event,
        )
        assert (event.name, event.at) == ("early", early)
        await db.execute_raw("UPDATE events SET happens_at = ? WHERE name = 'past'", LATER)
        assert (await db.event.find_unique(where={"at": LATER})).name == "past"
    assert read(path, "SELECT happens_at FROM events WHERE name = 'past'") == [(stored(LATER, form),)]


@pytest.mark.parametrize("form", FORMATS)
async def test_the_url_decides_for_a_file_without_dates(client: ModuleType, path: Path, form: str) -> None:
    async with open_client(client, path, f"?timestampFormat={form}") as db:
        await db.event.create(data={"name": "one", "at": PAST, "day": PAST, "stamp": PAST})
        await db.event.create_many(data=[{"name": str(n), "at": PAST + dt.timedelta(n)} for n in range(1, 30)])
    rows = read(path, "SELECT happens_at, day, stamp FROM events WHERE name = 'one'")
    assert rows == [(stored(PAST, form),) * 3]
    assert len(read(path, "SELECT DISTINCT typeof(happens_at), typeof(made), typeof(changed) FROM events")) == 1


async def test_an_unknown_form_in_the_url_is_refused(client: ModuleType, path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"timestampFormat=seconds .* must be iso8601 or unixepoch-ms"):
        await open_client(client, path, "?timestampFormat=seconds").connect()


async def test_a_form_in_the_url_that_the_file_does_not_have_is_refused(client: ModuleType, path: Path) -> None:
    write(path, ("past", stored(PAST, "unixepoch-ms")))
    with pytest.raises(ConfigurationError, match=r"stores unixepoch-ms in `events\.happens_at`"):
        await open_client(client, path, "?timestampFormat=iso8601").connect()


async def test_a_file_with_both_forms_is_refused_until_it_is_converted(
    client: ModuleType, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(path, ("past", stored(PAST, "unixepoch-ms")), ("later", stored(LATER, "iso8601")))
    write(path, ("short", "2019-05-05 10:00:00"), ("default", "2018-05-05 10:00:00 +00:00"))
    with pytest.raises(ConfigurationError) as refusal:
        await open_client(client, path).connect()
    assert "integers in `events.happens_at`" in str(refusal.value)
    command = str(refusal.value).partition("prisma_inprocess ")[2].partition(" (or")[0]
    for form in ("unixepoch-ms", "iso8601"):
        arguments = [*command.split()[:-1], form]
        assert await asyncio.to_thread(main, arguments) == 0
        assert f"are {form}" in capsys.readouterr().out
        assert await asyncio.to_thread(main, arguments) == 0
        assert "converted" not in capsys.readouterr().out
        async with open_client(client, path) as db:
            order = [event.name for event in await db.event.find_many(order={"at": "asc"})]
            assert order == ["past", "default", "short", "later"]
            assert (await db.event.find_unique(where={"at": dt.datetime(2019, 5, 5, 10, tzinfo=UTC)})).name == "short"


async def test_a_conversion_that_fails_leaves_the_file_as_it_was(
    client: ModuleType, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(Path(str(client.__file__)).parent)
    arguments = ["convert-dates", "--client", folder, "--url", f"file:{path}", "--to", "iso8601"]
    write(path, ("past", stored(PAST, "unixepoch-ms")), ("same", stored(PAST, "iso8601")))
    before = read(path, "SELECT * FROM events")
    assert main(arguments) == 1
    assert "UNIQUE constraint failed: events.happens_at" in capsys.readouterr().err
    assert read(path, "SELECT * FROM events") == before
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET happens_at = 'secret' WHERE name = 'same'")
    connection.close()
    before = read(path, "SELECT * FROM events")
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "1 values of `events.happens_at` are not dates" in message
    assert "secret" not in message
    assert read(path, "SELECT * FROM events") == before
    assert main([*arguments[:-3], f"file:{path}.missing"]) == 1
    assert "there is no SQLite file" in capsys.readouterr().err
    assert main(["convert-dates", "--client", str(path), "--url", f"file:{path}"]) == 1
    assert "--client must be the folder of a generated client" in capsys.readouterr().err


async def test_texts_of_another_form_are_read_and_warned_of(
    client: ModuleType, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of CURRENT_TIMESTAMP, and the default that a migration gives to rows that are there."""
    write(path, ("short", "2019-05-05 10:00:00"), ("default", "2018-05-05 10:00:00 +00:00"))
    async with open_client(client, path) as db:
        events = await db.event.find_many(order={"id": "asc"})
    assert [event.at for event in events] == [
        dt.datetime(2019, 5, 5, 10, tzinfo=UTC),
        dt.datetime(2018, 5, 5, 10, tzinfo=UTC),
    ]
    assert "events.happens_at" in caplog.text


async def test_literals_in_defaults_are_written_and_read(client: ModuleType, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO Literal DEFAULT VALUES")
        connection.execute("UPDATE Literal SET moment = '2020-02-29T17:45:00.125+00:00'")
    connection.close()
    async with open_client(client, path) as db:
        await db.literal.create(data={})
        await db.literal.create_many(data=[{"number": -7} for _ in range(25)])
        rows = [row.model_dump(exclude={"id"}) for row in await db.literal.find_many()]
        moment = dt.datetime(2020, 2, 29, 17, 45, 0, 125000, tzinfo=UTC)
        assert await db.literal.count(where={"moment": moment, "amount": 12.5, "kind": "WALK", "number": -7}) == 27
        # SQLite compares Json values by their text, and a migration takes the schema's, with its spaces.
        assert await db.literal.count(where={"data": {"equals": client.Json({"a": [1, None]})}}) == 26
    assert len(rows) == 27
    assert all(row == rows[0] for row in rows)
    assert (rows[0]["moment"], rows[0]["data"], rows[0]["blob"]) == (moment, {"a": [1, None]}, "AP8Q")
    columns = ("text", "number", "big", "ratio", "amount", "flag", "blob", "kind", "moment")
    for column in columns:
        assert len(read(path, f"SELECT DISTINCT typeof({column}), {column} FROM Literal")) == 1


async def test_converters_and_adapters_of_others_change_no_row(
    client: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django and the recipes of Python's documentation register theirs for the whole process."""

    def refuse(content: Any) -> Any:
        raise ValueError(f"not mine: {content}")

    for name in ("date", "datetime", "timestamp", "bool", "boolean", "json", "jsonb", "text", "integer", "decimal"):
        monkeypatch.setitem(sqlite3.converters, name.upper(), refuse)
    adapters: dict[Any, Any] = sqlite3.adapters
    for kind in (dt.datetime, dt.date, str, int, float, bytes):
        monkeypatch.setitem(adapters, (kind, sqlite3.PrepareProtocol), refuse)
    async with open_client(client, path) as db:
        event = await db.event.create(data={"name": "one", "at": PAST, "day": PAST, "stamp": LATER})
        assert (event.day, event.stamp) == (PAST, LATER)
        assert (await db.event.update(where={"id": event.id}, data={"stamp": PAST})).stamp == PAST
        literal = await db.literal.create(data={})
        assert (literal.flag, literal.data) == (True, {"a": [1, None]})
        assert (await db.query_raw("SELECT flag, data FROM Literal"))[0] == {"flag": True, "data": {"a": [1, None]}}
        assert await db.query_raw("SELECT stamp FROM events WHERE happens_at = ?", PAST)


async def test_what_this_package_registers_is_not_seen_by_others(client: ModuleType, path: Path) -> None:
    before = dict(sqlite3.converters)
    async with open_client(client, path) as db:
        await db.literal.create(data={})
    assert sqlite3.converters == before


async def test_a_statement_that_raised_has_written_nothing(client: ModuleType, path: Path) -> None:
    """A row that cannot be read back, because another column of it holds what is no text."""
    write(path, ("one", stored(PAST, "iso8601")))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET name = CAST(X'FF' AS TEXT)")
    connection.close()
    async with open_client(client, path) as db:
        with pytest.raises(client.errors.PrismaError):
            await db.event.update(where={"id": 1}, data={"at": LATER})
        with pytest.raises(client.errors.PrismaError):
            await db.query_raw("UPDATE events SET happens_at = ? RETURNING name", LATER)
    assert read(path, "SELECT happens_at FROM events") == [(stored(PAST, "iso8601"),)]


@pytest.mark.parametrize("form", FORMATS)
async def test_a_table_without_rowid_is_looked_at_as_well(client: ModuleType, path: Path, form: str) -> None:
    with sqlite3.connect(path) as connection:
        table = (SCHEMAS / "dates.sqlite.sql").read_text().partition(";")[0].replace(" AUTOINCREMENT", "")
        connection.execute("DROP TABLE events")
        connection.execute(f"{table} WITHOUT ROWID")
        connection.execute(
            "INSERT INTO events (id, name, happens_at, made, changed, since) VALUES (1, 'past', ?, ?, ?, ?)",
            [stored(PAST, form)] * 4,
        )
    connection.close()
    async with open_client(client, path) as db:
        assert await db.event.count(where={"at": PAST}) == 1
