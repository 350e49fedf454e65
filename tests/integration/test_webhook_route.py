"""The public route for callbacks."""

import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException

from fastapi_durable import (
    DurableError,
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    RunHandle,
    RunStatus,
    WorkflowContext,
    workflow,
)
from fastapi_durable.errors import StoreConflictError, StoreUnavailableError, TransactionExpiredError
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from tests.integration.order_desk import calling
from tests.support.engine_rig import until
from tests.support.new_stores import new_store, on_new_stores

KEY = "a-key-that-is-long-enough-for-anybody"


@workflow
async def call_me(ctx: WorkflowContext) -> Any:
    hook = await ctx.webhook()
    await ctx.set_value("url", hook.url)
    return await hook.wait()


@workflow
async def paid(ctx: WorkflowContext) -> int:
    hook = await ctx.webhook(dict[str, int])
    await ctx.set_value("url", hook.url)
    return sum((await hook.wait()).values())


@workflow
async def never_called(ctx: WorkflowContext) -> str:
    return str((await ctx.webhook()).url)


@asynccontextmanager
async def desk(
    store: StateStore | None = None, max_body: int = 200, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, DurableModule, FastAPI]]:
    """An application whose every other route needs a login."""
    async with nullcontext(store) if store is not None else new_store() as own:
        durable = DurableModule.for_root(
            DurableOptions(store=own, webhook_url="http://localhost/webhooks", **options),
            workflows=[call_me, paid, never_called],
        )

        async def login() -> None:
            raise HTTPException(401)

        app = FastAPI(lifespan=durable.lifespan)
        app.include_router(durable.webhook_router(max_body=max_body))

        @app.get("/private", dependencies=[Depends(login)])
        async def private() -> None:
            return None

        async with app.router.lifespan_context(app), calling(app) as client:
            yield client, durable, app


async def waiting(
    durable: DurableModule, app: FastAPI, run_id: str = "run/1 ü?", flow: Callable[..., Any] = call_me
) -> tuple[RunHandle[Any], str]:
    """A run that waits for a callback, and the address it gave away."""
    service = durable.runtime(app).service
    handle = await service.start(flow, run_id=run_id)
    await until(lambda: service.get_value(run_id, "url"))
    return handle, str(await service.get_value(run_id, "url"))


@on_new_stores
async def test_a_callback_is_accepted_without_a_login_and_so_is_its_repetition() -> None:
    async with desk() as (client, durable, app):
        handle, url = await waiting(durable, app)
        first, again = await client.post(url, json={"paid": True}), await client.post(url, json={"paid": False})
        assert [first.status_code, again.status_code] == [202, 202]
        assert first.json() == {"accepted": True}
        assert await handle.result("60s") == {"paid": True}


@on_new_stores
async def test_whatever_is_not_a_webhook_is_not_there() -> None:
    """No other token is taken, and a wrong secret looks like an unknown run."""
    async with desk() as (client, durable, app):
        handle, url = await waiting(durable, app, run_id="r")
        service = durable.runtime(app).service
        wrong = ["child:x", "update:r:address", "bp:r:0", "wh:r:0", "wh:", "wh:r:0:guess", "wh:x:0:guess", "wh:r:-1:x"]
        answers = [await client.post(f"/webhooks/{token}", json={}) for token in wrong]
        assert {(each.status_code, each.text) for each in answers} == {(404, answers[0].text)}
        assert len(await durable.runtime(app).store.list_signal_waiters()) == 1
        assert (await client.get(url)).status_code == 405
        ended = await service.execute(never_called, timeout="60s")
        assert (await client.post(ended, json={})).status_code == 410
        assert (await client.post(url)).status_code == 202
        assert await handle.result("60s") is None


@pytest.mark.parametrize(
    ("content_type", "body", "payload"),
    [
        ("application/json; charset=utf-8", b'{"a": [1]}', {"a": [1]}),
        ("application/cloudevents+json", b'"x"', "x"),
        ("application/x-www-form-urlencoded", b"a=1&b=2&b=3&c=", {"a": "1", "b": ["2", "3"], "c": ""}),
        ("text/plain", "grüezi".encode(), "grüezi"),
    ],
)
async def test_bodies_of_the_usual_kinds_are_understood(content_type: str, body: bytes, payload: object) -> None:
    async with desk() as (client, durable, app):
        handle, url = await waiting(durable, app)
        assert (await client.post(url, content=body, headers={"content-type": content_type})).status_code == 202
        assert await handle.result("60s") == payload


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"NaN", 400),
        ("application/json", b"[" * 180, 400),
        ("application/json", b'"\\u0000"', 400),
        ("text/plain", b"\xff", 400),
        ("application/octet-stream", b"x", 415),
        ("text/plain", b"x" * 201, 413),
    ],
)
async def test_a_body_that_cannot_be_read_or_stored_is_refused_and_may_be_sent_again(
    content_type: str, body: bytes, status: int
) -> None:
    async with desk() as (client, durable, app):
        handle, url = await waiting(durable, app)
        refused = await client.post(url, content=body, headers={"content-type": content_type})
        assert refused.status_code == status
        assert (await client.post(url, json=1)).status_code == 202
        assert await handle.result("60s") == 1


@on_new_stores
async def test_a_body_of_another_type_than_the_workflow_waits_for_is_refused_and_may_be_sent_again() -> None:
    async with desk() as (client, durable, app):
        handle, url = await waiting(durable, app, flow=paid)
        refused = await client.post(url, json={"amount": "a lot"})
        assert refused.status_code == 422
        assert "amount: Input should be a valid integer" in refused.json()["detail"]
        assert "a lot" not in refused.text
        assert (await client.post(url, json={"amount": 7})).status_code == 202
        assert await handle.result("60s") == 7


async def test_a_body_without_a_declared_length_is_read_only_up_to_the_limit() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 100

    async with desk() as (client, durable, app):
        _, url = await waiting(durable, app)
        assert (await client.post(url, content=endless())).status_code == 413
    assert sent <= 4


def documented_signature() -> Callable[[str, str, bytes], str]:
    """How docs/how-to/webhooks.md tells a sender to sign."""
    document = (Path(__file__).parents[2] / "docs" / "how-to" / "webhooks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import hashlib.*?)```", document, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 (our own document)
    signature: Callable[[str, str, bytes], str] = names["signature"]
    return signature


def signed(time: object, token: str, body: bytes, key: str = KEY) -> dict[str, str]:
    """The header of a signature, whatever the time is."""
    digest = hmac.new(key.encode(), f"{time}\n{token}\n".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Durable-Signature": f"t={time},v1={digest}"}


@on_new_stores
async def test_with_a_secret_a_callback_is_taken_that_is_signed_as_the_document_says() -> None:
    async with desk(webhook_secret=KEY) as (client, durable, app):
        handle, url = await waiting(durable, app)
        headers = {"X-Durable-Signature": documented_signature()(KEY, url, b'{"n": 1}')}
        assert (await client.post(url, content=b'{"n": 1}', headers=headers)).status_code == 202
        assert await handle.result("60s") == {"n": 1}


@on_new_stores
async def test_a_signature_is_for_one_body_and_one_key() -> None:
    async with desk(webhook_secret=KEY) as (client, durable, app):
        handle, url = await waiting(durable, app)
        token, now, body = unquote(url.rpartition("/")[2]), int(time.time()), b'{"n": 1}'
        good = signed(now, token, body)["X-Durable-Signature"]
        digest = good.partition("v1=")[2]
        of_the_body_alone = "sha256=" + hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
        wrong = [
            None,
            "",
            "t=,v1=",
            f"v1={digest}",
            f"t={now}",
            good[:-1],
            f"t={now},v1=ü",
            f"t=ü,v1={digest}",
            good + ",t=0",
        ]
        wrong += [of_the_body_alone, f"t={now + 1},v1={digest}", f"t= {now},v1={digest}", f"t={'9' * 5000},v1={digest}"]
        wrong += [signed(now, token, body, key="another-key-" * 3)["X-Durable-Signature"]]
        for signature in wrong:
            headers = {} if signature is None else {b"X-Durable-Signature": signature.encode()}
            assert (await client.post(url, content=body, headers=headers)).status_code == 401, signature
        assert (await client.post(url, content=b'{"n": 2}', headers={"X-Durable-Signature": good})).status_code == 401
        assert (await client.post(url, content=body, headers={"X-Durable-Signature": good})).status_code == 202
        assert await handle.result("60s") == {"n": 1}


@on_new_stores
async def test_a_signature_is_worth_nothing_for_another_webhook() -> None:
    """Who overhears one callback, and knows another address, approves nothing there with the same body."""
    async with desk(webhook_secret=KEY) as (client, durable, app):
        _, overheard = await waiting(durable, app, run_id="overheard")
        handle, wanted = await waiting(durable, app, run_id="wanted")
        headers = signed(int(time.time()), unquote(overheard.rpartition("/")[2]), b"true")
        assert (await client.post(wanted, content=b"true", headers=headers)).status_code == 401
        assert (await client.post(overheard, content=b"true", headers=headers)).status_code == 202
        # What is signed cannot be divided in another way, either.
        token = unquote(wanted.rpartition("/")[2])
        for said, sent in ((token, b"x\ntrue"), (f"{token}\nx", b"true")):
            headers = {**signed(int(time.time()), said, sent), "content-type": "text/plain"}
            moved = b"true" if sent != b"true" else b"x\ntrue"
            answer = await client.post(f"/webhooks/{quote(said, safe='')}", content=moved, headers=headers)
            assert answer.status_code in (401, 404), said
        assert (await handle.run()).status is RunStatus.SUSPENDED


@on_new_stores
@pytest.mark.parametrize("seconds", [-3600, -301, 301, 3600])
async def test_a_signature_is_worth_nothing_at_another_time(seconds: int) -> None:
    """One that is found in a log hours later, or made in advance, is refused; clocks may differ by minutes."""
    clock = HandClock()
    async with desk(webhook_secret=KEY, clock=clock) as (client, durable, app):
        handle, url = await waiting(durable, app)
        token, now = unquote(url.rpartition("/")[2]), int(clock.now().timestamp())
        refused = await client.post(url, content=b"1", headers=signed(now + seconds, token, b"1"))
        assert refused.status_code == 401
        assert "300 seconds" in refused.text
        almost = now + (299 if seconds > 0 else -299)
        assert (await client.post(url, content=b"1", headers=signed(almost, token, b"1"))).status_code == 202
        assert (await handle.result("60s")) == 1


class _StoreThatGoesAway(MemoryStateStore):
    away: DurableError | None = None

    async def find_checkpoint(self, run_id: str, seq: int) -> Any:
        if self.away is not None:
            raise self.away
        return await super().find_checkpoint(run_id, seq)


@pytest.mark.parametrize(
    "trouble",
    [
        StoreUnavailableError("the database is away"),
        StoreConflictError("another transaction was in the way"),
        TransactionExpiredError(timedelta(seconds=10)),
    ],
)
async def test_a_caller_is_told_to_come_back_while_the_database_is_away(trouble: DurableError) -> None:
    """Also if it is only slow."""
    store = _StoreThatGoesAway()
    async with desk(store) as (client, durable, app):
        _, url = await waiting(durable, app)
        store.away = trouble
        answer = await client.post(url, json=1)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        store.away = None
        assert (await client.post(url, json=1)).status_code == 202


async def test_the_route_describes_itself() -> None:
    async with desk() as (client, _, _):
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"]["/webhooks/{token}"]["post"]
        assert operation["operationId"] == "receiveDurableCallback"
        assert set(operation["responses"]) >= {"202", "400", "401", "404", "410", "413", "415", "422", "503"}
