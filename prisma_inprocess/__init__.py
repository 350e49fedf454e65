"""Prisma Client Python without its native engine.

`python -m prisma_inprocess generate --schema schema.prisma` writes a typed client package. Its `Prisma` runs Prisma's
own query compiler (WebAssembly) inside the process and talks to PostgreSQL through asyncpg or to SQLite through the
standard library: no engine binary, no Node when it runs.
"""

from __future__ import annotations

from prisma_inprocess.errors import (
    ConfigurationError,
    EngineError,
    Fault,
    GenerationError,
    MigrationError,
    PrismaInProcessError,
)
from prisma_inprocess.generator import Generated, generate

__all__ = [
    "ConfigurationError",
    "EngineError",
    "Fault",
    "Generated",
    "GenerationError",
    "MigrationError",
    "PrismaInProcessError",
    "generate",
]
