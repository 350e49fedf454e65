"""What began and ended in stretches of time."""

import asyncio
from datetime import timedelta

import pytest

from fastapi_durable.model.activity import MOST_BUCKETS, ActivityBucket, ActivityQuery
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import T0, a_run, at, create

TEN = timedelta(seconds=10)


class ActivityContract:
    async def test_activity_counts_beginnings_and_ends_in_their_buckets(self, store: StateStore) -> None:
        """A bucket begins with its first moment and ends before the next one's; what is outside is left out."""
        await create(
            store,
            a_run("before", created_at=at(-1), updated_at=at(-0.5), status=RunStatus.COMPLETED),
            a_run("first", created_at=T0, updated_at=at(2), status=RunStatus.COMPLETED),
            a_run("second", created_at=at(9.999), updated_at=at(10), status=RunStatus.COMPLETED),
            a_run("failed", created_at=at(10), updated_at=at(11), status=RunStatus.FAILED),
            a_run("dead", created_at=at(10), updated_at=at(19), status=RunStatus.DEAD, namespace="x"),
            a_run("cancelled", created_at=at(10), updated_at=at(19.999), status=RunStatus.CANCELLED, workflow="w"),
            a_run("alive", created_at=at(12), updated_at=at(13), status=RunStatus.RUNNING),
            a_run("after", created_at=at(20), updated_at=at(21), status=RunStatus.COMPLETED),
        )
        first, second = await store.run_activity(ActivityQuery(start=T0, width=TEN, buckets=2))
        two = timedelta(seconds=2)
        assert first == ActivityBucket(start=T0, started=2, completed=1, p50=two, p95=two)
        instant = timedelta(milliseconds=1)
        assert second == ActivityBucket(
            start=at(10), started=4, completed=1, failed=2, cancelled=1, p50=instant, p95=instant
        )

    async def test_activity_is_narrowed_by_namespace_workflow_and_scope(self, store: StateStore) -> None:
        await create(
            store,
            a_run("a", namespace="x", status=RunStatus.COMPLETED, updated_at=at(1)),
            a_run("b", namespace="y", status=RunStatus.COMPLETED, updated_at=at(3)),
            a_run("c", namespace="x", workflow="refund", status=RunStatus.FAILED, updated_at=at(3)),
        )

        async def counts(within: StateStore, **narrowed: str) -> tuple[int, int, int]:
            query = ActivityQuery(start=T0, width=TEN, buckets=1, **narrowed)
            (bucket,) = await within.run_activity(query)
            return bucket.started, bucket.completed, bucket.failed

        assert await counts(store) == (3, 2, 1)
        assert await counts(store, namespace="x") == (2, 1, 1)
        assert await counts(store, workflow="refund") == (1, 0, 1)
        assert await counts(store, namespace="y", workflow="refund") == (0, 0, 0)
        assert await counts(store.with_scope("y")) == (1, 1, 0)
        assert await counts(store.with_scope("y"), namespace="x") == (0, 0, 0)

    async def test_latencies_are_percentiles_of_the_completed(self, store: StateStore) -> None:
        runs = [a_run(f"r{n}", status=RunStatus.COMPLETED, updated_at=at(n / 10)) for n in range(100)]
        await asyncio.gather(*(store.create_run(run) for run in runs))
        (bucket,) = await store.run_activity(ActivityQuery(start=T0, width=TEN, buckets=1))
        assert (bucket.p50, bucket.p95) == (timedelta(seconds=5), timedelta(seconds=9.5))

    async def test_where_much_happens_counts_are_estimated_and_say_so(self, store: StateStore) -> None:
        """Only so many runs of a bucket are looked at; evenly spread ones are estimated well."""
        query = ActivityQuery(start=T0, width=TEN, buckets=MOST_BUCKETS)
        number = query.looked_at * 2
        runs = [a_run(f"r{n}", created_at=at(n * 10 / number)) for n in range(number)]
        await asyncio.gather(*(store.create_run(run) for run in runs))
        first, second, *_ = await store.run_activity(query)
        assert first.started == pytest.approx(number, rel=0.05)
        assert (second.started, second.estimated) == (0, False)

    async def test_a_window_that_cannot_be_is_refused(self) -> None:
        for buckets, width in ((0, TEN), (MOST_BUCKETS + 1, TEN), (1, timedelta(0))):
            with pytest.raises(ValueError, match=r"bucket"):
                ActivityQuery(start=T0, width=width, buckets=buckets)
