"""The state store on the application's own Prisma client.

`client` says what is asked of a client, `tables` how its columns and our model correspond, `database` runs statements
(errors, retries, transactions), `sql/` holds every SQL text, and each of the other modules one group of the port's
operations. The model API serves for what it expresses as one atomic statement; SQL for what writes JSON, returns what
it changed, compares prefixes, or orders by bytes.
"""

from fastapi_durable.store.prisma.store import PrismaStateStore, PrismaTransaction

__all__ = ["PrismaStateStore", "PrismaTransaction"]
