"""The durable models: what an application's `schema.prisma` must hold for the Prisma store to work.

This package is the one source of truth. The command line prints the models (`python -m fastapi_durable schema`) and
compares a schema with them (`schema --check PATH`); the store asks it which models and fields a client must know.
"""

from fastapi_durable.schema.comparison import missing_from
from fastapi_durable.schema.declaration import (
    PROVIDERS,
    Provider,
    durable_managed_tables,
    durable_model_texts,
    durable_models,
    snippet,
)
from fastapi_durable.schema.language import (
    Block,
    Field,
    Generator,
    Model,
    PrismaSyntaxError,
    Schema,
    parse_schema,
    read_schema,
)

__all__ = [
    "PROVIDERS",
    "Block",
    "Field",
    "Generator",
    "Model",
    "PrismaSyntaxError",
    "Provider",
    "Schema",
    "durable_managed_tables",
    "durable_model_texts",
    "durable_models",
    "missing_from",
    "parse_schema",
    "read_schema",
    "snippet",
]
