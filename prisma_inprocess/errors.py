"""What can go wrong, as one small tree.

    PrismaInProcessError
    ├── GenerationError          a schema, a wasm file or an option that `generate` cannot work with
    ├── ConfigurationError       a connection URL that cannot be used
    └── EngineError              a query, a transaction or a connection failed (carries Prisma's code and meta)

A user of a generated client never sees `EngineError`: the client's own exception classes (`UniqueViolationError`,
`RawQueryError`, ...) are raised in its place, with the same code and meta. `ConfigurationError` and `GenerationError`
are raised as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PrismaInProcessError(Exception):
    """Base of everything that this package raises itself."""


class GenerationError(PrismaInProcessError):
    """A client could not be generated; the message names the schema, file or option and what to change."""


class ConfigurationError(PrismaInProcessError):
    """A connection URL or one of its options cannot be used; the message never contains the URL's password."""


class EngineError(PrismaInProcessError):
    """A failure with one of Prisma's codes (`P1xxx` connections, `P2xxx` queries).

    Attributes:
        message: Text for people, in Prisma's own words where Prisma has them.
        code: Prisma's code, or None where Prisma has none for it.
        meta: Prisma's machine-readable details, for instance `{"target": ["email"]}`.
    """

    def __init__(self, message: str, code: str | None = None, meta: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.meta: dict[str, Any] = dict(meta or {})

    def response(self) -> dict[str, Any]:
        """The error as the native engine would send it: what the client's error classes are built from."""
        return {
            "error": self.message,
            "user_facing_error": {
                "is_panic": False,
                "message": self.message,
                "meta": self.meta,
                "error_code": self.code,
            },
        }
