"""Records the histories that are missing: `python -m tests.histories.record`."""

import asyncio
from pathlib import Path

from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import History, record_history
from tests.histories.workflows import RECORDED, Recorded
from tests.support.engine_rig import has_status, running_engine, until

FOLDER = Path(__file__).parent


def path_of(recorded: Recorded) -> Path:
    """Where a history is kept."""
    return FOLDER / f"{recorded.name}.json"


async def record(recorded: Recorded) -> History:
    """Run the workflow and return its history."""
    store, run_id = MemoryStateStore(), f"history-{recorded.name}"
    async with running_engine(store, recorded.workflow, *recorded.related, entities=recorded.entities) as engine:
        handle = await engine.start(recorded.name, *recorded.input, run_id=run_id)
        for token, payload in recorded.signals.items():
            await engine.signal(token, payload)
        if recorded.outside is not None:
            await recorded.outside(engine, run_id)
        waited_for = recorded.waits_for
        if waited_for is None:
            await until(lambda: _has_ended(store, run_id))
        else:
            await until(lambda: store.find_signal_waiter(waited_for))
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert handle.run_id == run_id
    return await record_history(store, run_id)


async def _has_ended(store: MemoryStateStore, run_id: str) -> bool:
    run = await store.find_run(run_id)
    return run is not None and run.status.is_terminal


async def _main() -> None:
    for recorded in RECORDED:
        if not path_of(recorded).exists():
            (await record(recorded)).save(path_of(recorded))


if __name__ == "__main__":
    asyncio.run(_main())
