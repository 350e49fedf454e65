"""Runs of the example in every state, started over HTTP as its users would."""

import time
from typing import Any, Final

import httpx

ORDER: Final = {"id": "7", "customer": "ada", "items": [{"sku": "lamp", "quantity": 1}], "total_cents": 9900}
CHEAP: Final = {"id": "8", "customer": "grace", "items": [{"sku": "pen", "quantity": 3}], "total_cents": 300}

COMPLETED: Final = 16
FAILED: Final = 1
WAITS: Final = ["breakpoint", "event", "signal", "signal"]
TOTAL: Final = COMPLETED + FAILED + len(WAITS) + 1
"""One sleeps."""


def seed(address: str) -> None:
    """Start them and return when all of them are at rest."""
    with httpx.Client(base_url=address, timeout=10, verify=False) as http:  # noqa: S501 (it is on this machine)
        for order in (ORDER, CHEAP):
            http.post("/orders", json=order).raise_for_status()
        for number in range(1000, 1012):
            delivery = {"id": str(number), "supplier": f"Supplier {number}"}
            _start(http, "delivery", delivery, run_id=f"delivery:{number}", tags=[f"gate:{number % 3}"])
        lost = {"id": "2001", "supplier": "Nobody", "parcels": 1}
        _start(http, "delivery", lost, run_id="delivery:2001", search_attributes={"weight": 80, "cold": False})
        fragile = {"id": "3001", "supplier": "Ada Lovelace", "fragile": True}
        _start(http, "delivery", fragile, run_id="delivery:3001", search_attributes={"weight": 2400, "cold": True})
        _start(http, "price-change", {"sku": "chair", "cents": 9900, "in_hours": 6}, run_id="price-change:chair")
        _start(http, "price-change", {"sku": "lamp", "cents": 4900}, run_id="price-change:lamp")
        _start(http, "stocktaking", 6, run_id="stocktaking:2026-11")
        _wait_for_rest(http)


def _start(http: httpx.Client, workflow: str, input: Any, **options: Any) -> None:
    http.post(f"/durable/api/workflows/{workflow}/runs", json={"input": input, **options}).raise_for_status()


def _wait_for_rest(http: httpx.Client) -> None:
    deadline = time.monotonic() + 30
    while True:
        runs = http.get("/durable/api/runs", params={"limit": 100}).raise_for_status().json()["runs"]
        waits = sorted(run["waiting"]["kind"] for run in runs if run["status"] == "suspended" and run["waiting"])
        if waits == WAITS and sum(run["status"] in ("completed", "failed") for run in runs) == COMPLETED + FAILED:
            return
        assert time.monotonic() < deadline, f"they do not come to rest: {runs}"
        time.sleep(0.05)
