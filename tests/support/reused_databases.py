"""PostgreSQL databases that one test after another gets, emptied: to create one takes longer than most tests do.

A database goes on to the next test if the last one left it as it was made: the same tables, triggers, functions and
settings, and nobody connected. Else it is dropped.
"""

import asyncio
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import asyncpg

from tests.support.postgres import PostgresServer

T = TypeVar("T")

_SHAPE: Final = """
SELECT md5(concat_ws('|',
    (SELECT string_agg(concat_ws(',', c.oid, c.relname, c.relkind, c.reloptions, c.relacl), ';' ORDER BY c.oid)
        FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace),
    (SELECT string_agg(concat_ws(',', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull), ';'
        ORDER BY a.attrelid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace),
    (SELECT string_agg(concat_ws(',', t.oid, t.tgenabled), ';' ORDER BY t.oid) FROM pg_trigger t),
    (SELECT string_agg(p.oid::text, ';' ORDER BY p.oid) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace),
    (SELECT string_agg(concat_ws(',', s.setrole, s.setconfig), ';' ORDER BY s.setrole) FROM pg_db_role_setting s
        JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database())
))
"""
_OTHERS: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_EMPTY: Final = """
DO $$
DECLARE
    name regclass;
    filled bool;
    found text[] := '{}';
BEGIN
    FOR name IN SELECT oid FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> '_prisma_migrations'
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO filled;
        IF filled THEN found := found || name::text; END IF;
    END LOOP;
    IF found <> '{}' THEN EXECUTE 'TRUNCATE ' || array_to_string(found, ', ') || ' RESTART IDENTITY CASCADE'; END IF;
END $$
"""


class ReusedDatabases:
    """The databases of one session, on one server; each is a copy of a template."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server = server
        self._template = template
        self._idle: list[tuple[str, str]] = []
        self._made: list[str] = []

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The URL of an empty database, which is nobody else's meanwhile."""
        name, shape = self._idle.pop() if self._idle else self._create()
        yield self._server.database_url(name)
        if _in_thread(self._is_emptied(name, shape)):
            self._idle.append((name, shape))
        else:
            self._server.drop_database(name)
            self._made.remove(name)

    def drop_all(self) -> None:
        """The end of the session."""
        for name in self._made:
            self._server.drop_database(name)

    def _create(self) -> tuple[str, str]:
        name = f"durable_test_{uuid.uuid4().hex}"
        url = self._server.create_database(name, template=self._template)
        self._made.append(name)
        return name, _in_thread(_shape_of(url))

    async def _is_emptied(self, name: str, shape: str) -> bool:
        """Empty the database; False if another test is not to have it."""
        try:
            connection = await asyncpg.connect(self._server.database_url(name))
            try:
                # A session ends a moment after its client has closed it.
                async with asyncio.timeout(1):
                    while await connection.fetchval(_OTHERS):  # noqa: ASYNC110 (the server does not call back)
                        await asyncio.sleep(0.002)
                if await connection.fetchval(_SHAPE) != shape:
                    return False
                await connection.execute(_EMPTY)
            finally:
                await connection.close(timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False
        return True


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run it in an event loop of its own: a fixture may be asked for by one that has its event loop running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _shape_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        shape: str = await connection.fetchval(_SHAPE)
    finally:
        await connection.close(timeout=5)
    return shape
