"""What the console's API shows."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable import MemoryStateStore, RunStatus
from fastapi_durable.engine.core.live_events import LiveEvents
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import Run
from fastapi_durable.store.port.checkpoints import HistoryState
from fastapi_durable.web.streams import Follow, State, Streams
from tests.console.desk import Desk, Parcel, alone, desk, failing, send


def stored(run_id: str, *, age: int = 0, **changes: Any) -> Run:
    """A run that nobody drives."""
    at = SystemClock().now() - timedelta(seconds=age)
    run = Run(
        id=run_id,
        workflow="elsewhere",
        workflow_version="1",
        status=RunStatus.FAILED,
        created_at=at,
        updated_at=at,
    )
    return replace(run, **changes)


async def ids(found: Desk, **parameters: Any) -> list[str]:
    response = await found.client.get("runs", params=parameters)
    assert response.status_code == 200, response.text
    return [run["id"] for run in response.json()["runs"]]


async def test_runs_are_listed_page_by_page_without_their_values() -> None:
    """The newest come first; the cursor goes on where the page ended, however many runs come in meanwhile."""
    async with desk() as found:
        for number in range(5):
            await found.runtime.store.create_run(stored(f"run/{number}", age=60 - number, input={"secret": 1}))
        first = (await found.client.get("runs", params={"limit": 2, "total": True})).json()
        assert [run["id"] for run in first["runs"]] == ["run/4", "run/3"]
        assert first["total"] == 5
        assert not {"input", "output", "error"} & first["runs"][0].keys()
        await found.runtime.store.create_run(stored("newer"))
        second = (await found.client.get("runs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
        assert [run["id"] for run in second["runs"]] == ["run/2", "run/1"]
        last = (await found.client.get("runs", params={"limit": 2, "cursor": second["next_cursor"]})).json()
        assert [run["id"] for run in last["runs"]] == ["run/0"]
        assert last["next_cursor"] is None
        assert last["total"] is None


async def test_every_filter_selects() -> None:
    """Each one alone, and several together."""
    async with desk() as found:
        store = found.runtime.store
        await store.create_run(stored("old", age=3600, origin="shop"))
        await store.create_run(stored("tagged", tags=("red:1",), search_attributes={"n": 7, "at": "a:b", "ok": True}))
        await store.create_run(stored("other", status=RunStatus.CANCELLED, workflow="bill", namespace="b"))
        assert await ids(found, status=["failed", "cancelled"], tag="red:1") == ["tagged"]
        assert await ids(found, status="cancelled") == ["other"]
        assert await ids(found, workflow="bill") == ["other"]
        assert await ids(found, namespace="b") == ["other"]
        assert await ids(found, origin="shop") == ["old"]
        assert await ids(found, unattributed=True, status="failed") == ["tagged"]
        assert await ids(found, attr=["n:gte:7", "at:eq:a:b", "ok:eq:true"]) == ["tagged"]
        assert await ids(found, attr="n:gt:7") == []
        assert await ids(found, attr=["n:eq:7.0", "n:lt:1e1"]) == ["tagged"], "however a number is written"
        before = (SystemClock().now() - timedelta(minutes=30)).isoformat()
        assert await ids(found, created_until=before) == ["old"]
        assert set(await ids(found, created_from=before)) == {"tagged", "other"}
        facets = (await found.client.get("runs/facets", params={"workflow": "bill"})).json()
        assert facets == {"facets": [{"status": "cancelled", "origin": None, "count": 1}], "total": 1, "capped": []}


@pytest.mark.parametrize(
    "parameters",
    [
        {"status": "sleepy"},
        {"attr": "n"},
        {"attr": "n:like:7"},
        {"cursor": "!"},
        {"cursor": "WzEsMV0"},
        {"limit": 0},
        {"limit": 100_000},
        {"workflow": "\x00"},
        {"tag": "x" * 300},
        {"created_from": "yesterday"},
    ],
)
async def test_what_is_wrong_with_a_query_is_said_in_a_problem(parameters: dict[str, Any]) -> None:
    """Not ignored, and not an error of the server."""
    async with desk() as found:
        response = await found.client.get("runs", params=parameters)
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == 422
        assert problem["errors"][0]["where"] == f"query.{next(iter(parameters))}" or problem["errors"][0]["where"]


async def test_a_run_is_shown_with_timeline_children_and_error() -> None:
    """Everything that a run page needs, in one answer; a second request for the same version gets none."""
    async with desk() as found:
        await found.ended(failing, Parcel(id="7", weight=3), "run/7")
        await found.runtime.store.create_run(stored("child", parent_run_id="run/7", parent_seq=1))
        response = await found.client.get("runs/run%2F7")
        run = response.json()
        assert [(step["name"], step["status"]) for step in run["timeline"]] == [
            ("weigh", "completed"),
            ("refuse", "failed"),
        ]
        assert run["error"]["code"] == "refused"
        assert "FatalError" in run["timeline"][1]["error"]["stack"]
        assert run["input"] == {"id": "7", "weight": 3}
        assert [child["id"] for child in run["children"]] == ["child"]
        assert (run["timeline_total"], run["children_total"]) == (2, 1)
        again = await found.client.get("runs/run/7", headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
        page = (await found.client.get("runs/run/7", params={"after": 0, "limit": 1})).json()
        assert [step["seq"] for step in page["timeline"]] == [1]


async def test_an_unknown_run_is_a_problem() -> None:
    """With a type to tell it by."""
    async with desk() as found:
        for path in ("runs/nobody", "runs/nobody/stream", "runs/nobody/values/x"):
            response = await found.client.get(path)
            assert (response.status_code, response.json()["type"]) == (404, "urn:fastapi-durable:run-not-found")


async def test_workflows_are_shown_with_the_schema_of_their_input() -> None:
    """So that a form, or a person, knows what to send."""
    async with desk() as found:
        listed = {each["name"]: each for each in (await found.client.get("workflows")).json()["workflows"]}
        assert listed["send"]["input_schema"]["properties"]["weight"]["minimum"] == 1
        assert listed["send"]["description"] == "Send a parcel."
        assert listed["send"]["tags"] == ["parcels"]
        assert listed["updated"]["takes_input"] is False
        assert listed["updated"]["input_schema"] is None


async def test_a_store_that_is_away_is_a_problem_that_keeps_its_secrets() -> None:
    """The answer says to come back; what the database said stays in the log."""
    from fastapi_durable.errors import StoreUnavailableError

    async with desk() as found:

        async def away(*_: Any, **__: Any) -> Any:
            raise StoreUnavailableError("cannot reach postgres://user:password@db")

        found.runtime.store.list_runs = away  # type: ignore[method-assign]
        response = await found.client.get("runs")
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert "password" not in response.text


def events_of(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith("retry")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def seen_looking(store: MemoryStateStore, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once somebody looks at a run's timeline."""
    looked = asyncio.Event()
    history_state = store.history_state

    async def look(run_id: str) -> HistoryState:
        looked.set()
        return await history_state(run_id)

    monkeypatch.setattr(store, "history_state", look)
    return looked


async def test_a_stream_tells_changes_and_resumes_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that was away learns what changed meanwhile, and nothing if nothing did."""
    from fastapi_durable.web import router as router_module
    from fastapi_durable.web.stream_routes import stream_routes

    # The store is not asked a second time within the test, so what is told was heard in this process.
    monkeypatch.setattr(router_module, "stream_routes", lambda: stream_routes(interval=60, lifetime=1))
    store = MemoryStateStore()
    async with desk(store=store) as found:
        await found.waits("t", "run")
        looked = seen_looking(store, monkeypatch)
        reading = asyncio.create_task(found.client.get("runs/run/stream"))
        await looked.wait()
        await found.runtime.service.signal("t", "yes")
        events = events_of((await reading).text)
        told = [json.loads(event["data"])["type"] for event in events if event["event"] == "live"]
        assert told[-1] == "run.completed"
        events = [event for event in events if event["event"] == "run"]
        assert [json.loads(event["data"])["status"] for event in (events[0], events[-1])] == ["suspended", "completed"]
        last = events[-1]["id"]
        assert events_of((await found.client.get("runs/run/stream", headers={"Last-Event-ID": last})).text) == []
        old = {"Last-Event-ID": events[0]["id"]}
        (missed,) = events_of((await found.client.get("runs/run/stream", headers=old)).text)
        assert missed["id"] == last
        (listed,) = events_of((await found.client.get("runs/stream", params={"status": "completed"})).text)
        assert [run["id"] for run in json.loads(listed["data"])["runs"]] == ["run"]
        assert json.loads(listed["data"])["facets"] == [{"status": "completed", "origin": "tests", "count": 1}]


async def test_what_another_process_does_is_seen_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is heard of it here."""
    from fastapi_durable.web import router as router_module
    from fastapi_durable.web.stream_routes import stream_routes

    monkeypatch.setattr(router_module, "stream_routes", lambda: stream_routes(interval=0.05, lifetime=0.5))
    store = MemoryStateStore()
    async with desk(store=store) as found:
        await store.create_run(stored("run"))
        looked = seen_looking(store, monkeypatch)
        reading = asyncio.create_task(found.client.get("runs/run/stream"))
        await looked.wait()
        await store.update_run("run", {"status": RunStatus.CANCELLED})
        events = events_of((await reading).text)
        assert [json.loads(event["data"])["status"] for event in events] == ["failed", "cancelled"]


async def test_what_happens_in_this_process_is_told_at_once() -> None:
    """Long before the store would be looked at again; what concerns others is not told."""
    versions = iter("abcdef")

    async def read() -> State:
        return State("run", next(versions), {})

    streams, live = Streams(interval=60, lifetime=60, gap=0), LiveEvents(SystemClock())
    mine, theirs = stored("mine", namespace="ours"), stored("mine", namespace="theirs")
    follow = Follow("ours", "mine", passed_on=True)
    async with asyncio.timeout(60):
        stream = await streams.open(("mine",), read, None, live=live, follow=follow)
        told = aiter(stream.body_iterator)
        assert [await anext(told), await anext(told)] == ["retry: 500\n\n", "id: a\nevent: run\ndata: {}\n\n"]
        waiting = asyncio.ensure_future(anext(told))
        await asyncio.sleep(0)
        for run in (theirs, stored("other", namespace="ours"), mine):
            live.run("run.completed", run, output="secret")
        text = str(await waiting)
        assert text.startswith("event: live\n")
        assert ('"run_id":"mine"' in text, "secret" in text) == (True, False)
        assert str(await anext(told)).startswith("id: b\n")


async def test_however_many_follow_the_same_runs_the_store_is_asked_once() -> None:
    """And another namespace's reader never gets their answer."""
    asked: list[str | None] = []

    def reader(namespace: str | None) -> Callable[[], Awaitable[State]]:
        async def read() -> State:
            asked.append(namespace)
            await asyncio.sleep(0.01)
            return State("runs", "1", {"of": namespace})

        return read

    streams, live = Streams(interval=0.05, lifetime=0.12, gap=0.05), LiveEvents(SystemClock())

    async def follow(namespace: str | None) -> list[Any]:
        stream = await streams.open((namespace,), reader(namespace), None, live=live, follow=Follow(namespace))
        return [chunk async for chunk in stream.body_iterator]

    told = await asyncio.gather(*(follow(None) for _ in range(20)), follow("b"))
    assert all('"of":null' in "".join(chunks) for chunks in told[:-1])
    assert '"of":"b"' in "".join(told[-1])
    assert asked.count(None) < 12


async def test_the_routes_do_not_leak_into_the_schema_of_an_application_that_wants_none() -> None:
    """`include_in_schema=False` hides the API; the pages are never in it."""
    async with desk(allow_unauthenticated=True, include_in_schema=False) as found:
        assert found.app.openapi()["paths"] == {}
    async with desk() as found:
        paths = found.app.openapi()["paths"]
        assert all(path.startswith("/durable/api/") for path in paths)
        operations = [each for path in paths.values() for each in path.values()]
        assert all(each["tags"] == ["durable"] for each in operations)
        names = [each["operationId"] for each in operations]
        assert len(set(names)) == len(names)
        assert all("_" not in name for name in names)


async def test_metrics_are_what_prometheus_reads() -> None:
    """Every status has a gauge, also when no run has it."""
    async with desk() as found:
        await found.ended(send, Parcel(id="1", weight=2), "1")
        response = await found.client.get("metrics")
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = response.text.splitlines()
        assert 'durable_runs{status="completed"} 1' in lines
        assert 'durable_runs{status="dead"} 0' in lines
        assert "durable_worker_up 1" in lines
        assert 'durable_queue_running{queue="parcels",namespace="default"} 0' in lines
        assert 'durable_queue_waiting{queue="parcels",namespace="default"} 0' in lines
        await found.ended(send, Parcel(id="2", weight=2), "2")
        lines = (await found.client.get("metrics")).text.splitlines()
        assert 'durable_runs_finished_total{workflow="send",status="completed"} 1' in lines


async def test_the_send_workflow_runs() -> None:
    """The desk itself works."""
    async with desk() as found:
        await found.ended(send, Parcel(id="1", weight=2), "1")
        assert (await found.client.get("runs/1")).json()["output"] == 2


async def test_a_series_tells_what_happened_lately_point_by_point() -> None:
    """The last point is the present one; what was before the window is left out."""
    async with desk() as found:
        store = found.runtime.store
        now = SystemClock().now()
        await store.create_run(stored("old", age=7200))
        await store.create_run(stored("failed", age=30, updated_at=now))
        begun = now - timedelta(seconds=2)
        done = stored("done", status=RunStatus.COMPLETED, created_at=begun, updated_at=now)
        await store.create_run(replace(done, workflow="bill", namespace="b"))
        series = (await found.client.get("metrics/series", params={"window": "10m", "buckets": 5})).json()
        assert series["bucket_seconds"] == 120
        assert len(series["points"]) == 5
        totals = {name: sum(point[name] for point in series["points"]) for name in ("started", "completed", "failed")}
        assert totals == {"started": 2, "completed": 1, "failed": 1}
        (present,) = [point for point in series["points"] if point["completed"]]
        assert (present["p50_ms"], present["p95_ms"]) == (2000, 2000)
        for narrowed in ({"workflow": "bill"}, {"namespace": "b"}):
            series = (await found.client.get("metrics/series", params=narrowed)).json()
            assert sum(point["started"] for point in series["points"]) == 1


@pytest.mark.parametrize(
    "parameters", [{"window": "soon"}, {"window": "1s"}, {"window": "91d"}, {"buckets": 0}, {"buckets": 121}]
)
async def test_a_window_that_cannot_be_charted_is_refused(parameters: dict[str, str]) -> None:
    async with desk() as found:
        response = await found.client.get("metrics/series", params=parameters)
        assert response.status_code == 422
        assert response.json()["errors"][0]["where"].startswith("query.")


async def test_a_run_behind_its_singletons_leader_waits_for_its_turn() -> None:
    """It looks again every half minute, but that is not what it waits for."""
    async with desk() as found:
        leader = await found.runtime.service.start(alone, "lead/er:1")
        await found.until(leader.run_id, RunStatus.SUSPENDED)
        follower = await found.runtime.service.start(alone, "lead/er:1")
        await found.until(follower.run_id, RunStatus.SUSPENDED)
        shown = (await found.client.get(f"runs/{follower.run_id}")).json()
        assert (shown["waiting"]["kind"], shown["waiting"]["name"]) == ("singleton", "lead/er:1")
        assert f"singleton:{shown['waiting']['name']}" in shown["tags"]
        listed = (await found.client.get("runs", params={"workflow": "alone"})).json()["runs"]
        assert {run["id"]: run["waiting"]["kind"] for run in listed} == {
            leader.run_id: "signal",
            follower.run_id: "singleton",
        }


async def test_a_run_shows_the_dead_letters_that_exist_one_for_each_death() -> None:
    async with desk() as found:
        store = found.runtime.store
        await store.create_run(stored("unlucky", recovery_attempts=4, status=RunStatus.DEAD))
        assert (await found.client.get("runs/unlucky")).json()["dead_letters"] == []
        for letter in ("dlq:unlucky", "dlq@2:unlucky", "dlq@3:unlucky"):
            await store.create_run(stored(letter, status=RunStatus.COMPLETED))
        assert (await found.client.get("runs/unlucky")).json()["dead_letters"] == ["dlq:unlucky"]
        for _ in range(2):
            await found.runtime.service.retry("unlucky")
            await store.update_run("unlucky", {"status": RunStatus.DEAD})
        await store.delete_run("dlq:unlucky")
        letters = ["dlq@2:unlucky", "dlq@3:unlucky"]
        assert (await found.client.get("runs/unlucky")).json()["dead_letters"] == letters
        await store.update_run("unlucky", {"status": RunStatus.COMPLETED})
        assert (await found.client.get("runs/unlucky")).json()["dead_letters"] == ["dlq@2:unlucky"]
        await store.create_run(stored("lucky", status=RunStatus.FAILED))
        assert (await found.client.get("runs/lucky")).json()["dead_letters"] == []
