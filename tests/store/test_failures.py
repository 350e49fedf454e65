"""What becomes of the errors of a client: a fault of the database is told apart from the caller's own."""

from collections.abc import Callable
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma
from fastapi_durable.model.errors import StoreConflictError, StoreError, StoreUnavailableError
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_run, create
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.store.prisma.failures import is_transaction_over, translate, translate_call
from tests.support.postgres import PostgresServer


class PrismaError(Exception):
    """As generated packages have it, with the attributes that a client may set."""

    def __init__(self, code: str | None = None, meta: Any = None, **attributes: Any) -> None:
        super().__init__("what the client says")
        self.code, self.meta = code, meta
        for name, value in attributes.items():
            setattr(self, name, value)


class TransactionExpiredError(PrismaError):
    pass


AWAY, CONFLICT, OWN = StoreUnavailableError, StoreConflictError, StoreError


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("unreachable", AWAY),
        ("server_not_ready", AWAY),
        ("too_many_connections", AWAY),
        ("not_connected", AWAY),
        ("pool_timeout", AWAY),
        ("connection_lost", AWAY),
        ("server_shutdown", AWAY),
        ("no_answer", AWAY),
        ("statement_cancelled", AWAY),
        ("read_only", AWAY),
        ("insufficient_resources", AWAY),
        ("something_new", AWAY),
        ("write_conflict", CONFLICT),
        ("lock_timeout", CONFLICT),
        ("plan_changed", CONFLICT),
        ("waits_for_itself", OWN),
        ("transaction_expired", OWN),
        ("transaction_closed", OWN),
        ("transaction_failed", OWN),
    ],
)
def test_the_fault_that_a_client_names_decides(fault: str, kind: type[StoreError]) -> None:
    """Whatever the code: three of them come as P2028."""
    for code in ("P2028", "P2010", None):
        assert type(translate(PrismaError(code, fault=fault, in_doubt=False))) is kind


def test_a_write_conflict_without_an_answer_is_not_tried_again_at_once() -> None:
    """It may have been done."""
    assert type(translate(PrismaError("P2034", fault="write_conflict", in_doubt=True))) is StoreUnavailableError
    assert type(translate(PrismaError("P2010", fault=None, in_doubt=True))) is StoreUnavailableError


@pytest.mark.parametrize(
    ("code", "state", "kind"),
    [
        ("P2010", "25006", AWAY),
        ("P2010", "57014", AWAY),
        ("P2010", "57P01", AWAY),
        ("P2010", "53200", AWAY),
        ("P2010", "58030", AWAY),
        ("P2010", "08006", AWAY),
        ("P2024", None, AWAY),
        ("P2034", None, CONFLICT),
        ("P2010", "40001", CONFLICT),
        ("P2010", "40P01", CONFLICT),
        ("P2010", "55P03", CONFLICT),
        ("P2010", "5", CONFLICT),
        ("P2010", "23505", OWN),
        ("P2002", None, OWN),
    ],
)
def test_codes_decide_where_a_client_names_no_fault(code: str, state: str | None, kind: type[StoreError]) -> None:
    assert type(translate(PrismaError(code, None if state is None else {"code": state}))) is kind


def test_a_cut_connection_does_not_mean_that_a_transaction_took_too_long() -> None:
    assert is_transaction_over(TransactionExpiredError("P2028"))
    assert is_transaction_over(TransactionExpiredError("P2028", fault="transaction_expired"))
    assert not is_transaction_over(TransactionExpiredError("P2028", fault="connection_lost"))
    assert not is_transaction_over(TransactionExpiredError("P2028", fault="waits_for_itself"))


def test_errors_of_others_are_none_of_the_clients() -> None:
    for error in (ValueError(), ConnectionError(), TimeoutError(), KeyError("fault")):
        assert translate(error) is None
    assert type(translate_call(ConnectionError())) is StoreUnavailableError
    assert type(translate_call(TimeoutError())) is StoreUnavailableError


@pytest.fixture
def settings(postgres_url: str, postgres_server: PostgresServer) -> Callable[[str], None]:
    """Sets a default of the database; connections that are opened then have it."""
    name = postgres_url.rpartition("/")[2]

    def set_default(setting: str) -> None:
        postgres_server.sql(f'ALTER DATABASE "{name}" SET {setting}', name)

    return set_default


async def stored(url: str) -> None:
    async with Prisma(datasource={"url": url}) as client:
        await create(PrismaStateStore(client), a_run())


@pytest.mark.postgres
async def test_a_server_that_takes_no_writes_is_unavailable(postgres_url: str, settings: Callable[[str], None]) -> None:
    """As after a failover, until the client has found the new one; reading goes on."""
    await stored(postgres_url)
    settings("default_transaction_read_only = on")
    async with Prisma(datasource={"url": postgres_url}) as client:
        store: StateStore = PrismaStateStore(client)
        assert await store.find_run("run-1") == a_run()
        for write in (store.create_run(a_run("run-2")), store.update_run("run-1", {"output": 1})):
            with pytest.raises(StoreUnavailableError):
                await write


@pytest.mark.postgres
async def test_a_statement_that_the_server_cancels_is_an_outage(
    postgres_url: str, settings: Callable[[str], None]
) -> None:
    """`statement_timeout` of the database, while somebody holds the row."""
    await stored(postgres_url)
    async with Prisma(datasource={"url": postgres_url}) as other:
        async with PrismaStateStore(other).transaction() as transaction:
            await transaction.lock_run("run-1")
            settings("statement_timeout = '300ms'")
            async with Prisma(datasource={"url": postgres_url}) as client:
                with pytest.raises(StoreUnavailableError):
                    await PrismaStateStore(client).update_run("run-1", {"output": 1})
