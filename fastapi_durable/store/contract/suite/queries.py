"""Listing, counting and facets."""

from dataclasses import replace
from datetime import datetime

import pytest

from fastapi_durable.model.records import AttributeFilter, Run, RunFacet, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import T0, a_run, at, create, listed


def key_of(seen: list[Run]) -> tuple[datetime, str] | None:
    """Where a listing continues."""
    return (seen[-1].created_at, seen[-1].id) if seen else None


class QueriesContract:
    async def test_expired_runs_are_those_whose_time_is_over_and_that_could_go_on(self, store: StateStore) -> None:
        """The most overdue first; a run that is being cancelled ends anyway."""
        for status in RunStatus:
            await create(store, a_run(status, status=status, expires_at=at(-1)))
        await create(
            store,
            a_run("later", expires_at=at(1)),
            a_run("without limit"),
            a_run("longest", expires_at=at(-9), namespace="x"),
            a_run("just now", expires_at=T0),
        )
        expired = ["longest", "blocked", "pending", "running", "suspended", "just now"]
        assert await store.list_expired_runs(T0, limit=10) == expired
        assert await store.list_expired_runs(T0, limit=2) == expired[:2]
        assert await store.list_expired_runs(T0, limit=10, namespace="x") == ["longest"]
        assert await store.with_scope("default").list_expired_runs(T0, limit=10) == expired[1:]

    async def test_stranded_runs_waited_long_and_nobody_serves_their_workflow(self, store: StateStore) -> None:
        """The longest wait first, whatever it is that they wait for."""
        nobody = {"workflow": "unknown"}
        await create(
            store,
            a_run("served", created_at=at(-99)),
            a_run("another version", workflow_version="2", created_at=at(-30)),
            a_run("pending", **nobody, created_at=at(-20)),
            a_run("fresh", **nobody, created_at=at(1)),
            a_run("woken", **nobody, status=RunStatus.SUSPENDED, wake_at=at(-40)),
            a_run("asleep", **nobody, status=RunStatus.SUSPENDED, wake_at=at(1)),
            a_run("orphan", **nobody, status=RunStatus.RUNNING, locked_by="dead", locked_until=at(-10)),
            a_run("driven", **nobody, status=RunStatus.RUNNING, locked_by="alive", locked_until=at(1)),
            a_run("shown", **nobody, status=RunStatus.BLOCKED, wake_at=at(-40)),
            a_run("cancelling", **nobody, status=RunStatus.CANCELLING),
            a_run("ended", **nobody, status=RunStatus.COMPLETED),
            a_run("theirs", **nobody, namespace="x", created_at=at(-50)),
        )

        async def stranded(limit: int = 10, **where: str) -> list[str]:
            found = await store.list_stranded_runs(T0, served=["checkout@1"], limit=limit, **where)
            return [run.id for run in found]

        everybody = ["theirs", "woken", "another version", "pending", "orphan"]
        assert await stranded() == everybody
        assert await stranded(limit=2) == everybody[:2]
        assert await stranded(namespace="x") == ["theirs"]
        scoped = store.with_scope("default")
        assert [run.id for run in await scoped.list_stranded_runs(T0, served=["checkout@1"], limit=9)] == everybody[1:]
        assert {run.id for run in await store.list_stranded_runs(T0, served=(), limit=9)} == {*everybody, "served"}

    async def test_runs_are_listed_by_workflow_and_status(self, store: StateStore) -> None:
        await create(
            store,
            a_run("a", workflow="checkout", status=RunStatus.COMPLETED),
            a_run("b", workflow="checkout", status=RunStatus.FAILED),
            a_run("c", workflow="refund", status=RunStatus.COMPLETED),
        )
        assert await listed(store, workflow="checkout") == ["b", "a"]
        assert await listed(store, status=RunStatus.COMPLETED) == ["c", "a"]
        assert await listed(store, workflow="checkout", status=RunStatus.COMPLETED) == ["a"]
        assert await listed(store, workflow="Checkout") == []

    async def test_a_set_of_statuses_and_a_single_one_must_both_hold(self, store: StateStore) -> None:
        await create(store, *(a_run(status, status=status) for status in RunStatus))
        ended = frozenset({RunStatus.COMPLETED, RunStatus.FAILED})
        assert sorted(await listed(store, statuses=ended)) == ["completed", "failed"]
        assert await listed(store, statuses=ended, status=RunStatus.FAILED) == ["failed"]
        assert await listed(store, statuses=ended, status=RunStatus.RUNNING) == []
        assert await listed(store, statuses=frozenset()) == []
        assert await store.count_runs(RunQuery(statuses=frozenset())) == 0

    async def test_a_tag_matches_exactly(self, store: StateStore) -> None:
        """Tags are case-sensitive on every database."""
        await create(
            store,
            a_run("a", tags=("singleton:x", "blue")),
            a_run("b", tags=("singleton:xy",)),
            a_run("c", tags=("Blue", "o'brien", '"quoted"', "50%", "ünïcode")),
            a_run("d"),
        )
        assert await listed(store, tag="singleton:x") == ["a"]
        assert await listed(store, tag="blue") == ["a"]
        assert await listed(store, tag="Blue") == ["c"]
        assert await listed(store, tag="singleton:") == []
        assert await listed(store, tag="o'brien") == ["c"]
        assert await listed(store, tag='"quoted"') == ["c"]
        assert await listed(store, tag="50%") == ["c"]
        assert await listed(store, tag="ünïcode") == ["c"]
        assert await listed(store, tag="blue", status=RunStatus.FAILED) == []

    async def test_runs_that_were_never_driven_are_told_from_those_that_were(self, store: StateStore) -> None:
        await create(
            store,
            a_run("due", status=RunStatus.SUSPENDED, wake_at=at(1)),
            a_run("later", status=RunStatus.SUSPENDED, wake_at=at(900)),
            a_run("begun", status=RunStatus.SUSPENDED, wake_at=at(900), updated_at=at(0.001)),
            a_run("pending"),
        )
        (claimed,) = await store.claim_runs("token", now=at(2), until=at(60), limit=1, namespace=None)
        assert claimed.id in ("due", "pending")
        undriven = {"due", "later", "pending"} - {claimed.id}
        assert set(await listed(store, never_driven=True)) == undriven
        query = RunQuery(never_driven=True, status=RunStatus.SUSPENDED)
        assert await store.count_runs(query) == len(undriven & {"due", "later"})

    async def test_an_origin_never_matches_an_absent_one(self, store: StateStore) -> None:
        await create(store, a_run("a", origin="shop"), a_run("b", origin="bank"), a_run("c"))
        assert await listed(store, origin="shop") == ["a"]
        assert await listed(store, origin="") == []
        assert await listed(store) == ["c", "b", "a"]

    async def test_unattributed_runs_have_no_origin_or_a_blank_one(self, store: StateStore) -> None:
        await create(
            store,
            a_run("a", origin="shop", status=RunStatus.FAILED),
            a_run("b", status=RunStatus.FAILED),
            a_run("c", origin=" \t", status=RunStatus.FAILED),
            a_run("d", origin=""),
        )
        assert await listed(store, unattributed=True) == ["d", "c", "b"]
        assert await listed(store, unattributed=True, status=RunStatus.FAILED) == ["c", "b"]
        assert await listed(store, unattributed=True, origin="shop") == []

    async def test_facets_count_by_status_and_origin(self, store: StateStore) -> None:
        """Blank origins count as none, and the sum is the total."""
        await create(
            store,
            a_run("a", origin="shop", status=RunStatus.FAILED),
            a_run("b", origin="shop", status=RunStatus.FAILED),
            a_run("c", origin="bank", status=RunStatus.FAILED),
            a_run("d", status=RunStatus.FAILED),
            a_run("e", origin=" ", status=RunStatus.FAILED),
            a_run("f", status=RunStatus.COMPLETED),
        )
        facets = await store.run_facets(RunQuery())
        assert set(facets) == {
            RunFacet(RunStatus.FAILED, "shop", 2),
            RunFacet(RunStatus.FAILED, "bank", 1),
            RunFacet(RunStatus.FAILED, None, 2),
            RunFacet(RunStatus.COMPLETED, None, 1),
        }
        assert len(facets) == 4
        assert sum(facet.count for facet in facets) == await store.count_runs(RunQuery())

    async def test_facets_honour_the_other_conditions_and_ignore_their_own(self, store: StateStore) -> None:
        """Tags and attributes count; status, origin and paging do not narrow what they count."""
        await create(
            store,
            a_run("a", namespace="x", tags=("t",), search_attributes={"k": 1}, origin="shop"),
            a_run("b", namespace="x", tags=("t",), search_attributes={"k": 2}, status=RunStatus.FAILED),
            a_run("c", namespace="x", tags=("u",), search_attributes={"k": 1}),
            a_run("d", namespace="y", tags=("t",), search_attributes={"k": 1}),
        )
        assert set(await store.run_facets(RunQuery(namespace="x", tag="t"))) == {
            RunFacet(RunStatus.PENDING, "shop", 1),
            RunFacet(RunStatus.FAILED, None, 1),
        }
        one = AttributeFilter("k", "eq", 1)
        assert set(await store.run_facets(RunQuery(namespace="x", attributes=(one,)))) == {
            RunFacet(RunStatus.PENDING, "shop", 1),
            RunFacet(RunStatus.PENDING, None, 1),
        }
        narrowed = RunQuery(
            namespace="x", tag="t", status=RunStatus.FAILED, origin="bank", limit=1, offset=7, before=(T0, "")
        )
        assert len(await store.run_facets(narrowed)) == 2

    async def test_the_newest_runs_come_first(self, store: StateStore) -> None:
        await create(store, *(a_run(f"run-{number}", created_at=at(number)) for number in range(5)))
        assert await listed(store, limit=2) == ["run-4", "run-3"]
        assert await listed(store, limit=2, offset=2) == ["run-2", "run-1"]
        assert await listed(store, limit=2, offset=4) == ["run-0"]
        assert await listed(store, limit=0) == []

    async def test_a_list_of_several_statuses_or_namespaces_is_in_one_order(self, store: StateStore) -> None:
        """However it is read: a page holds the newest of all, and the next page continues after it."""
        statuses = [RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.DEAD]
        runs = [
            a_run(f"run-{n}", status=statuses[n % 3], namespace="xyz"[n % 2], workflow="f", created_at=at(n // 2))
            for n in range(12)
        ]
        await create(store, *runs, a_run("other", status=RunStatus.FAILED, namespace="x"), a_run("pending"))
        order = sorted(range(12), key=lambda n: (n // 2, f"run-{n}"), reverse=True)
        everything = [f"run-{n}" for n in order]
        wanted = frozenset({RunStatus.FAILED, RunStatus.DEAD})
        bad = [f"run-{n}" for n in order if statuses[n % 3] in wanted]
        assert await listed(store, workflow="f") == everything
        assert await listed(store, statuses=wanted) == [*bad, "other"]
        assert await listed(store, statuses=wanted, workflow="f", limit=3, offset=2) == bad[2:5]
        assert await listed(store, status=RunStatus.FAILED, statuses=wanted) == [
            *(f"run-{n}" for n in order if n % 3 == 0),
            "other",
        ]
        of_x = [f"run-{n}" for n in order if n % 2 == 0]
        assert await listed(store, namespace="x") == [*of_x, "other"]
        assert await listed(store.with_scope("x"), statuses=wanted, workflow="f") == [
            each for each in of_x if each in bad
        ]
        for query in (RunQuery(workflow="f", limit=5), RunQuery(statuses=wanted, workflow="f", limit=5)):
            seen: list[Run] = []
            while page := await store.list_runs(replace(query, before=key_of(seen))):
                seen += page
            assert [run.id for run in seen] == (bad if query.statuses else everything)

    async def test_counting_stops_where_it_is_told_to(self, store: StateStore) -> None:
        await create(
            store,
            *(a_run(f"f{n}", status=RunStatus.FAILED, origin="shop") for n in range(3)),
            *(a_run(f"c{n}", status=RunStatus.COMPLETED) for n in range(5)),
        )
        assert await store.count_runs(RunQuery(), at_most=4) == 4
        assert await store.count_runs(RunQuery(status=RunStatus.FAILED), at_most=4) == 3
        assert await store.run_facets(RunQuery(), at_most=4) == [
            RunFacet(RunStatus.COMPLETED, None, 4),
            RunFacet(RunStatus.FAILED, "shop", 3),
        ]

    async def test_equal_times_are_ordered_by_the_bytes_of_the_id(self, store: StateStore) -> None:
        """The order is total, and no locale's."""
        await create(store, *(a_run(run_id) for run_id in ["b", "a", "B", "ä", "_", "Z"]))
        assert await listed(store) == ["ä", "b", "a", "_", "Z", "B"]

    async def test_paging_by_key_passes_each_run_once(self, store: StateStore) -> None:
        """Also when new runs arrive between two pages."""
        await create(store, *(a_run(f"run-{number}", created_at=at(number // 3)) for number in range(10)))
        seen: list[str] = []
        before = None
        while page := await store.list_runs(RunQuery(limit=4, before=before)):
            seen += [run.id for run in page]
            before = (page[-1].created_at, page[-1].id)
            await create(store, a_run(f"new-{len(seen)}", created_at=at(100)))
        assert seen == sorted((f"run-{number}" for number in range(10)), reverse=True)

    async def test_runs_are_listed_by_parent_and_by_time_of_creation(self, store: StateStore) -> None:
        await create(
            store,
            a_run("a", parent_run_id="p", created_at=at(0)),
            a_run("b", parent_run_id="p", created_at=at(1)),
            a_run("c", parent_run_id="q", created_at=at(2)),
            a_run("d", created_at=at(3)),
        )
        assert await listed(store, parent_run_id="p") == ["b", "a"]
        assert await listed(store, created_from=at(1)) == ["d", "c", "b"]
        assert await listed(store, created_until=at(1)) == ["a"]
        assert await listed(store, created_from=at(1), created_until=at(3)) == ["c", "b"]

    async def test_a_count_ignores_paging(self, store: StateStore) -> None:
        await create(store, *(a_run(f"run-{number}", tags=("t",) if number % 2 else ()) for number in range(6)))
        assert await store.count_runs(RunQuery(limit=1, offset=2, before=(T0, "run-3"))) == 6
        assert await store.count_runs(RunQuery(tag="t")) == 3

    @pytest.mark.parametrize("empty", ["", "nobody"])
    async def test_conditions_that_nothing_meets_list_nothing(self, store: StateStore, empty: str) -> None:
        await create(store, a_run("a", tags=("t",), origin="o", parent_run_id="p", search_attributes={"k": "v"}))
        for condition in ("workflow", "tag", "namespace", "origin", "parent_run_id"):
            assert await listed(store, **{condition: empty}) == []
        assert await store.run_facets(RunQuery(workflow=empty)) == []
