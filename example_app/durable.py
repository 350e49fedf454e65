"""The durable module: where runs are kept, and which workflows there are.

The application below enters it; `python -m fastapi_durable worker example_app.durable:durable` runs it alone.
"""

from example_app.database import get_prisma
from example_app.workflow import checkout
from fastapi_durable import DurableModule, DurableOptions, InProcessTransport, PrismaStateStore

durable = DurableModule.for_root_async(
    inject=[get_prisma],
    use_factory=lambda prisma: DurableOptions(store=PrismaStateStore(prisma), transport=InProcessTransport()),
    workflows=[checkout],
)
