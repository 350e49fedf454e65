"""The order desk over HTTP: `uvicorn example_app.main:app`."""

from datetime import datetime

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from example_app import warehouse
from example_app.database import DataError, Prisma, PrismaDep
from example_app.durable import durable
from example_app.orders import Order, OrderDep, StoredOrder, run_id_of, save_order
from example_app.workflow import Approval, checkout, send_receipt
from fastapi_durable import DurableHealthDep, DurableTasksDep, RunStatus, StateStoreDep, WorkflowServiceDep

app = FastAPI(title="Order desk", lifespan=durable.lifespan)
durable.add_exception_handlers(app)
# A desk on one's own machine. Yours has a login: durable.router(dependencies=[Depends(login)]).
app.include_router(durable.router(allow_unauthenticated=True), prefix="/durable")
app.include_router(warehouse.router)


class RunAccepted(BaseModel):
    run_id: str
    status: RunStatus = RunStatus.PENDING


class OrderView(StoredOrder):
    run_id: str
    run_status: RunStatus | None


class LedgerLine(BaseModel):
    kind: str
    amount_cents: int
    at: datetime


@app.post("/orders", status_code=202)
async def place_order(order: Order, workflows: WorkflowServiceDep) -> RunAccepted:
    # The order and the run that takes care of it: both are committed, or neither is.
    async with workflows.transaction(Prisma) as tx:
        run = await tx.start(checkout, order, run_id=run_id_of(order.id))
        if run.created:
            await save_order(tx.client, order, "placed")
    if not run.created and Order.model_validate((await run.run()).input) != order:
        raise HTTPException(409, f"order {order.id!r} was placed before, with other content")
    return RunAccepted(run_id=run.run_id)


@app.get("/orders/{id}")
async def read_order(order: OrderDep, store: StateStoreDep) -> OrderView:
    run_id = run_id_of(order.id)
    run = await store.find_run(run_id)
    return OrderView(**order.model_dump(), run_id=run_id, run_status=None if run is None else run.status)


@app.post("/orders/{id}/approval", status_code=202)
async def decide(approval: Approval, order: OrderDep, workflows: WorkflowServiceDep) -> Approval:
    """The first decision counts; one that comes before the workflow waits for it is kept until then."""
    if order.needs_approval and order.status not in ("shipped", "rejected"):
        await workflows.signal(f"approval:{order.id}", approval, signal_id="decision")
    return approval


@app.post("/orders/{id}/receipt", status_code=202)
async def ask_for_receipt(order: OrderDep, tasks: DurableTasksDep) -> RunAccepted:
    """Sent in the background, once an order, in a minute: whoever asks again gets the same task."""
    task = await tasks.add(send_receipt, order.id, key=order.id, delay="1 min")
    return RunAccepted(run_id=task.run_id, status=await task.status())


@app.get("/orders/{id}/ledger")
async def read_ledger(order: OrderDep, prisma: PrismaDep) -> list[LedgerLine]:
    rows = await prisma.ledgerentry.find_many(where={"orderId": order.id}, order={"id": "asc"})
    return [LedgerLine(kind=row.kind, amount_cents=row.amountCents, at=row.at) for row in rows]


@app.exception_handler(DataError)
async def unavailable(_: Request, error: DataError) -> JSONResponse:
    """The database is away for a while: every request here may be repeated, so say when."""
    if not str(error.code).startswith("P1"):
        raise error  # Prisma's P1... are about the connection, and only they
    problem = {"title": "Service Unavailable", "status": 503, "detail": "the database cannot be reached at the moment"}
    return JSONResponse(problem, 503, {"Retry-After": "5"}, "application/problem+json")


@app.get("/health/live")
async def live(health: DurableHealthDep) -> dict[str, str]:
    if not health.live:
        raise HTTPException(503, "the worker has stopped: restart the process")
    return {"status": "ok"}


@app.get("/health/ready")
async def ready(health: DurableHealthDep) -> dict[str, str]:
    if not health.ready:
        raise HTTPException(503, "the store does not answer, or no worker looks for work")
    return {"status": "ok"}
