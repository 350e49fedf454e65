"""The durable module: where runs are kept, and which workflows there are.

The application below enters it; `python -m fastapi_durable worker example_app.durable:durable` runs it alone.
"""

from example_app.database import Prisma, get_prisma
from example_app.settings import Settings
from example_app.warehouse import QUEUES, SCHEDULES, change_price, count_twice, deliver, take_stock
from example_app.workflow import checkout, send_receipt
from fastapi_durable import (
    DurableModule,
    DurableOptions,
    InProcessTransport,
    PostgresWakeups,
    PrismaStateStore,
    SqliteWakeups,
)


def options(prisma: Prisma, settings: Settings) -> DurableOptions:
    url = settings.database_url
    return DurableOptions(
        store=PrismaStateStore(prisma),
        transport=InProcessTransport(),
        # Processes that share the database tell each other of work at once, instead of finding it a second later.
        wakeups=PostgresWakeups(url) if url.startswith("postgres") else SqliteWakeups(url),
        schedules=SCHEDULES,
        queues=QUEUES,
    )


durable = DurableModule.for_root_async(
    inject=[get_prisma, Settings],
    use_factory=options,
    workflows=[checkout, deliver, take_stock, count_twice, change_price],
    steps=[send_receipt],
)
