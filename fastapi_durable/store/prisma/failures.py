"""Translates the client's errors for the caller of the store.

A client of `prisma_inprocess` has an attribute `fault`, which says what failed between it and its database. The errors
of other clients are recognised by Prisma's codes and by the class names of the generated package, which cannot be
imported. The message contains the client's text, which names host and database but never a password.
"""

from fastapi_durable.model.errors import (
    DurableError,
    SchemaMismatchError,
    SerializationError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
)

# Nothing was written, and a repetition may succeed at once.
_CONFLICT_FAULTS = frozenset({"write_conflict", "lock_timeout", "plan_changed"})
# Errors that the caller caused: a transaction that took too long, that is over, or that waits for its own connection.
_OWN_FAULTS = frozenset({"transaction_expired", "transaction_closed", "transaction_failed", "waits_for_itself"})
_UNAVAILABLE_CODES = frozenset(
    {
        "P1000",
        "P1001",
        "P1002",
        "P1003",
        "P1008",
        "P1009",
        "P1010",
        "P1011",
        "P1017",
        "P2024",
        "P2037",
        "25006",
        "57014",
    }
)
_UNAVAILABLE_CLASSES = frozenset(
    {"ClientNotConnectedError", "EngineConnectionError", "HTTPClientClosedError", "NotConnectedError"}
)
_CONFLICT_CODES = frozenset({"P2034", "40001", "40P01", "55P03"})
_SCHEMA_CODES = frozenset({"P2021", "P2022", "42P01", "42703"})
# A text or JSON value that PostgreSQL cannot hold (NUL characters, lone surrogates), or that has no UTF-8 form.
_VALUE_CODES = frozenset({"P2019", "P2020", "22P02", "22P05", "22021", "22003"})
_SQLITE_BUSY = frozenset({5, 6})


def translate_call(error: BaseException) -> DurableError | None:
    """Translate an error of a call to the client. A broken connection can only be that to the database."""
    if isinstance(error, ConnectionError | TimeoutError):
        return StoreUnavailableError(f"the database cannot be reached: {type(error).__name__}: {error}")
    return translate(error)


def translate(error: BaseException) -> DurableError | None:
    """Return the library's error for an error of the client. None for other errors."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "PrismaError" not in names and not names & _UNAVAILABLE_CLASSES:
        return None
    codes = _codes(error)
    text = str(error)
    fault = _fault(error)
    if fault in _OWN_FAULTS:
        return StoreError(f"the database refused a statement: {text}")
    # It is unknown whether the statement took effect, so a repetition could do it twice.
    in_doubt = getattr(error, "in_doubt", False)
    if not in_doubt and (fault in _CONFLICT_FAULTS or codes & _CONFLICT_CODES or _is_busy(codes, text)):
        return StoreConflictError(f"the transaction was undone because another one was in its way: {text}")
    if (
        fault is not None
        or in_doubt
        or codes & _UNAVAILABLE_CODES
        or names & _UNAVAILABLE_CLASSES
        or any(_is_state_of_the_server(code) for code in codes)
    ):
        return StoreUnavailableError(f"the database cannot be reached: {text}")
    if codes & _SCHEMA_CODES or text.startswith(("no such table", "no such column")):
        return SchemaMismatchError(
            f"a table of fastapi_durable is missing or older than the Prisma schema ({text}). "
            "Run `fastapi-durable migrate deploy`, or `prisma migrate deploy`."
        )
    if codes & _VALUE_CODES:
        # The message is for any caller. The client's text is in the error's cause.
        return SerializationError(
            "the database cannot hold a value: a text with a NUL character or half of a surrogate pair, or a number "
            "that is too large"
        )
    return StoreError(f"the database refused a statement: {text}")


def fault_of_database(error: BaseException) -> StoreError | None:
    """Return the library's error for an error that leaves a transaction's block, if it decides the transaction's
    result.

    The block may have used the client directly. A conflict or a broken connection has undone the transaction. A refusal
    by the database, such as a duplicate key, is an error of the block itself.
    """
    failure = translate(error)
    return failure if isinstance(failure, StoreConflictError | StoreUnavailableError) else None


def is_transaction_over(error: BaseException) -> bool:
    """Return whether the client reports that the transaction is closed already, without an error of the database."""
    if (fault := _fault(error)) is not None:
        return fault in _OWN_FAULTS and fault != "waits_for_itself"
    return type(error).__name__ in ("TransactionExpiredError", "TransactionError")


def _fault(error: BaseException) -> str | None:
    fault = getattr(error, "fault", None)
    return None if fault is None else str(fault)


def _codes(error: BaseException) -> set[str]:
    """Return Prisma's code, and the database's code if a raw statement failed (P2010)."""
    meta = getattr(error, "meta", None)
    inner = meta.get("code") if isinstance(meta, dict) else None
    return {str(code) for code in (getattr(error, "code", None), inner) if code is not None}


def _is_busy(codes: set[str], text: str) -> bool:
    if "P1008" in codes:
        return "locked" in text
    # The last byte of an extended code of SQLite is the primary code. Codes of PostgreSQL have five characters.
    return "P2010" in codes and any(
        code.isdecimal() and len(code) < 5 and int(code) & 0xFF in _SQLITE_BUSY for code in codes
    )


def _is_state_of_the_server(code: str) -> bool:
    """Return whether the code means a broken connection, a server that starts or stops, or one without memory or disk
    space.
    """
    return len(code) == 5 and code.startswith(("08", "53", "57P", "58"))
