"""The state store on the application's own Prisma client.

`client` declares the interface of a client, `tables` maps its columns to our model, `database` runs statements (errors,
retries, transactions), `sql/` holds every SQL text, and each of the other modules implements one group of the port's
operations. The model API is used where it makes one atomic statement. SQL is used to write JSON, to return changed
rows, to compare prefixes, or to order by bytes.
"""

from fastapi_durable.store.prisma.store import PrismaStateStore, PrismaTransaction

__all__ = ["PrismaStateStore", "PrismaTransaction"]
