"""`runs`, `workers`, `queues` and `schedules` against a running console, and over a module's own store."""

import json
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from fastapi_durable import ConsoleLogin, ConsoleUser, DurableModule, DurableOptions, LoginCredentialsDep, RunStatus
from fastapi_durable.__main__ import main
from fastapi_durable.store.memory import MemoryStateStore
from tests.console.desk import QUEUES, SCHEDULES, WORKFLOWS, Desk, Parcel

pytestmark = pytest.mark.slow  # each starts processes

durable = DurableModule.for_root(
    DurableOptions(store=MemoryStateStore(), poll_interval="10ms", queues=QUEUES, schedules=SCHEDULES),
    workflows=WORKFLOWS,
)
HERE = f"{__name__}:durable"
TOLD_ELSEWHERE: list[tuple[str, str | None]] = []


async def people(credentials: LoginCredentialsDep) -> ConsoleUser | None:
    for name, role in (("vera", "view"), ("otto", "operate")):
        if credentials.matches(name, f"password of {name}"):
            return ConsoleUser(name=name, role="operate" if role == "operate" else "view")
    return None


def basic(credentials: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> None:
    if (credentials.username, credentials.password) != ("otto", "password of otto"):
        raise HTTPException(401)


async def bearer(authorization: Annotated[str | None, Header()] = None) -> None:
    if authorization != "Bearer the-token":
        raise HTTPException(401)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Serves consoles of one module, with runs in it; the address without their prefixes."""
    module = DurableModule.for_root(
        DurableOptions(store=MemoryStateStore(), poll_interval="10ms", queues=QUEUES, schedules=SCHEDULES),
        workflows=WORKFLOWS,
    )
    app = FastAPI(lifespan=module.lifespan)
    login = ConsoleLogin(authenticate=people, secret="s" * 32, secure=False)
    app.include_router(module.router(login=login), prefix="/durable")
    safe = ConsoleLogin(authenticate=people, secret="s" * 32, cookie_name="safe")
    app.include_router(module.router(login=safe, include_in_schema=False), prefix="/safe")
    app.include_router(module.router(dependencies=[Depends(bearer)], include_in_schema=False), prefix="/tokens")
    app.include_router(module.router(dependencies=[Depends(basic)], include_in_schema=False), prefix="/basic")

    @app.get("/strange/api/runs")
    async def strange() -> None:
        raise HTTPException(404, "\x1b[2Jthere is\nnothing")

    @app.post("/seed")
    async def seed() -> None:
        service = module.runtime(app).service
        await service.execute("send", Parcel(id="1", weight=7), run_id="good", timeout="30s")
        await service.start("waiting", "t", run_id="a/waiting run")
        await service.start("failing", Parcel(id="2", weight=1), run_id="bad")
        desk = Desk(httpx.AsyncClient(), app, module)
        await desk.until("bad", RunStatus.FAILED)
        await desk.until("a/waiting run", RunStatus.SUSPENDED)

    @app.api_route("/elsewhere/{path:path}", methods=["GET", "POST"])
    async def elsewhere(path: str, request: Request) -> None:
        """Another application at the same address, whose owner would like to have a token."""
        TOLD_ELSEWHERE.append((path, request.headers.get("authorization")))

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none")
    serving = uvicorn.Server(config)
    thread = threading.Thread(target=serving.run, daemon=True)
    thread.start()
    while not serving.started:
        thread.join(0.01)
        assert thread.is_alive()
    port = serving.servers[0].sockets[0].getsockname()[1]
    try:
        # Three runs come to rest within it: on a busy machine that takes longer than httpx waits by itself.
        httpx.post(f"http://127.0.0.1:{port}/seed", timeout=60).raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        serving.should_exit = True
        thread.join(10)


@pytest.fixture
def run(server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls a command as Otto, and returns the exit code and what was printed."""
    monkeypatch.setenv("DURABLE_USERNAME", "otto")
    monkeypatch.setenv("DURABLE_PASSWORD", "password of otto")
    monkeypatch.setenv("COLUMNS", "160")

    def call(*words: str, url: str | None = None) -> tuple[int, str, str]:
        code = main([*words, "--url", f"{server}/durable" if url is None else url])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def documents(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_runs_of_a_server_are_listed_and_shown(run: Any) -> None:
    """For people and for scripts, as those of a store are."""
    code, table, _ = run("runs", "list")
    assert code == 0
    assert all(text in table for text in ("good", "a/waiting run", "signal t", "completed", "suspended"))
    (listed,) = documents(run("runs", "list", "--status", "completed", "--json")[1])
    assert listed["id"] == "good"
    assert documents(run("runs", "list", "--origin", listed["origin"], "--status", "completed", "--json")[1]) == [
        listed
    ]
    assert run("runs", "list", "--origin", "elsewhere", "--json")[1] == ""
    assert [each["id"] for each in documents(run("runs", "list", "--limit", "1", "--json")[1])] == ["bad"]
    (detail,) = documents(run("runs", "show", "good", "--json")[1])
    assert (detail["output"], detail["timeline"][0]["name"]) == (7, "weigh")
    assert "parcel 2 is refused" in run("runs", "show", "bad")[1]
    code, _, error = run("runs", "show", "nobody")
    assert (code, "nobody" in error) == (1, True)


def test_what_a_server_says_does_not_steer_the_terminal(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DURABLE_USERNAME", raising=False)
    assert main(["runs", "list", "--url", f"{server}/strange"]) == 1
    assert "\ufffd[2Jthere is\nnothing" in capsys.readouterr().err


def test_runs_of_a_server_are_steered_and_followed(run: Any) -> None:
    """An id with slashes and blanks, too. The exit code says how it ended."""
    assert run("runs", "signal", "t", '"yes"', "--json")[1] == '{"received": true}\n'
    code, text, _ = run("runs", "tail", "a/waiting run", "--json")
    assert (code, documents(text)[-1]["status"]) == (0, "completed")
    assert run("runs", "cancel", "good")[0] == 1
    assert run("runs", "retry", "bad")[0] == 0
    code, text, _ = run("runs", "tail", "bad")
    assert (code, "parcel 2 is refused" in text) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "show", "{}"),
        ("runs", "cancel", "{}"),
        ("runs", "retry", "{}"),
        ("runs", "tail", "{}"),
        ("schedules", "trigger", "{}"),
        ("schedules", "pause", "{}"),
    ],
)
def test_an_id_does_not_lead_a_token_elsewhere(
    run: Any, server: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A tenant chooses ids of runs, and an operator pastes them behind a command."""
    monkeypatch.delenv("DURABLE_USERNAME")
    monkeypatch.setenv("DURABLE_TOKEN", "the-token")
    TOLD_ELSEWHERE.clear()
    ups = ["../../../elsewhere/x", "a/../../../../elsewhere/x", "./../../../elsewhere/x", "..", ".", "x/.."]
    ups += ["..\\..\\..\\elsewhere", "x?/../../..", "x#/.."]
    for name in [*ups, "%2e%2e/%2e%2e/%2e%2e/elsewhere/x", "x?y=1", "x#", "?", "//elsewhere/x", "%"]:
        code, _, error = run(*(word.format(name) for word in words), url=f"{server}/tokens")
        assert code == 1, name
        assert ("must not have a part" in error) is (name in ups), name
        if words[0] == "runs":
            assert repr(name)[1:-1] in error  # the others are names that the server itself was asked for
    assert TOLD_ELSEWHERE == []


def test_workers_queues_and_schedules_of_a_server(run: Any) -> None:
    (worker,) = documents(run("workers", "--json")[1])
    assert worker["concurrency"] == 32
    assert "0 of 32" in run("workers")[1]
    (queue,) = documents(run("queues", "--json")[1])
    assert (queue["name"], queue["concurrency"], queue["may_begin"]) == ("parcels", 1, 5)
    assert "5 of 5 in 1 h" in run("queues")[1]
    assert "0 3 * * * UTC" in run("schedules", "list")[1]
    assert documents(run("schedules", "pause", "nightly", "--json")[1])[0]["paused"] is True
    assert "paused" in run("schedules", "list")[1]
    assert documents(run("schedules", "resume", "nightly", "--json")[1])[0]["paused"] is False
    (started,) = documents(run("schedules", "trigger", "nightly", "--json")[1])
    assert run("runs", "show", started["run_id"])[0] == 0
    code, _, error = run("schedules", "pause", "daily")
    assert (code, "daily" in error) == (1, True)


def test_what_the_server_refuses_is_told_with_its_reason(
    run: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer, a stranger, a wrong password, an address that is no console, and none at all."""
    monkeypatch.setenv("DURABLE_USERNAME", "vera")
    monkeypatch.setenv("DURABLE_PASSWORD", "password of vera")
    assert run("runs", "list")[0] == 0
    code, _, error = run("runs", "cancel", "good")
    assert (code, "operate" in error) == (1, True)
    monkeypatch.setenv("DURABLE_PASSWORD", "wrong")
    code, _, error = run("runs", "list")
    assert (code, "name or password" in error, "wrong" in error) == (1, True, False)
    monkeypatch.delenv("DURABLE_USERNAME")
    assert "DURABLE_TOKEN" in run("runs", "list")[2]
    assert run("runs", "list", url=server)[0] == 1
    assert "own address" in run("runs", "list", url=server)[2]
    assert "does not answer" in run("runs", "list", url="http://127.0.0.1:9/durable")[2]
    assert "--url" in run("runs", "list", url="shop.example")[2]


def test_a_token_of_the_environment_goes_along(run: Any, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For applications with an authentication of their own."""
    monkeypatch.delenv("DURABLE_USERNAME")
    assert run("runs", "list", url=f"{server}/tokens")[0] == 1
    monkeypatch.setenv("DURABLE_TOKEN", "the-token")
    assert run("runs", "list", url=f"{server}/tokens/")[0] == 0


def test_a_name_and_password_reach_a_console_behind_http_basic(run: Any, server: str) -> None:
    """It has no login of its own; the same two variables serve it."""
    assert run("runs", "list", url=f"{server}/basic")[0] == 0


def test_a_session_for_https_only_works_on_this_machine_as_in_a_browser(run: Any, server: str) -> None:
    """`ConsoleLogin` as it is by default, tried out without a certificate."""
    assert run("runs", "list", url=f"{server}/safe")[0] == 0
    assert run("runs", "cancel", "nobody", url=f"{server}/safe")[2].startswith("ApiRefusedError: no run has the id")


def test_a_session_for_https_only_is_not_carried_over_a_plain_connection_elsewhere(run: Any, server: str) -> None:
    """Somebody on the way could take it; the error says what to use instead."""
    not_this_machine = server.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 (called, not bound: it leads here all the same)
    code, _, error = run("runs", "list", url=f"{not_this_machine}/safe")
    assert (code, "use its https address" in error) == (1, True)
    assert run("runs", "list", url=f"{not_this_machine}/durable")[0] == 0


def test_workers_queues_and_schedules_of_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    """The same commands over its own store, which a process that drives nothing may open."""
    assert main(["workers", HERE]) == 0
    assert "no worker" in capsys.readouterr().out
    assert main(["queues", HERE]) == 0
    assert "no queues" in capsys.readouterr().out, "only a worker declares them"
    assert main(["schedules", "list", HERE, "--json"]) == 0
    assert documents(capsys.readouterr().out)[0]["key"] == "nightly"
    assert main(["schedules", "trigger", HERE, "nightly", "--json"]) == 0
    assert documents(capsys.readouterr().out)[0]["run_id"]


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "show"],
        ["runs", "show", HERE],
        ["runs", "show", HERE, "a", "b"],
        ["workers"],
        ["queues"],
        ["runs", "list", "a", "b"],
    ],
)
def test_words_that_are_missing_or_too_many_are_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "MODULE:ATTRIBUTE" in capsys.readouterr().err
