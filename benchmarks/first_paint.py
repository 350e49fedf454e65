"""`python -m benchmarks.first_paint`: how soon the dashboard is there, in Chromium, with a great many runs stored.

Serves the dashboard on a filled database and opens its pages, each time in a browser context that knows nothing of it
(no cache). Counted from the start of the navigation: the browser's own first contentful paint, and the moment when what
the page is for is there. The median of the repeats counts, and the slowest is told.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
from typing import Any, Final

from fastapi import FastAPI

from benchmarks.console import client_of, database, statements
from fastapi_durable import DurableModule, DurableOptions, PrismaStateStore
from tests.browser.conftest import FLAGS, serving

GOAL: Final = 1_000
REPEATS: Final = 7
PREFIX: Final = "/durable"

PAGES: Final = {
    "overview": ("", ".tiles + .two tbody tr"),
    "run list": ("?page=runs", "main tbody tr"),
    "run list, filtered": ("?page=runs&status=failed&workflow=flow-3", "main tbody tr"),
    "a run": ("?run=run-50000", ".waterfall .step"),
    "a run of 5,000 steps": ("?run=long", ".waterfall .step"),
}
"""Of each page: its address, and what it is for."""

NOTE_WHEN_THERE: Final = """(selector) => {
    const look = () => {
        if (!document.querySelector(selector)) return;
        window.thereAt = performance.now();
        watcher.disconnect();
    };
    const watcher = new MutationObserver(look);
    watcher.observe(document, { childList: true, subtree: true });
}"""
READ_WHEN_KNOWN: Final = """() => new Promise((resolve) => {
    const look = () => {
        const painted = performance.getEntriesByName("first-contentful-paint")[0];
        if (painted && window.thereAt) resolve([painted.startTime, window.thereAt]);
        else setTimeout(look, 20);
    };
    look();
})"""


async def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_paint", description=__doc__)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="sqlite")
    parser.add_argument("--runs", type=int, default=100_000)
    arguments = parser.parse_args()
    sqlite = arguments.database == "sqlite"
    with database(None, sqlite=sqlite) as url:
        async with client_of(sqlite=sqlite)(datasource={"url": url}) as prisma:
            for statement in statements(arguments.runs, sqlite=sqlite):
                await prisma.execute_raw(statement)
            module = DurableModule.for_root(DurableOptions(store=PrismaStateStore(prisma), role="api"))
            app = FastAPI(lifespan=module.lifespan)
            app.include_router(module.router(allow_unauthenticated=True), prefix=PREFIX)
            async with serving(app) as address:
                slow = await measure(f"{address}{PREFIX}/", arguments)
    print(f"\n{'all met' if not slow else f'{len(slow)} not met'}: {GOAL} ms each")
    return 1 if slow else 0


async def measure(address: str, arguments: argparse.Namespace) -> list[str]:
    """Print a line for each page, and return the names of those that took too long."""
    from playwright.async_api import async_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    slow: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        print(f"\n{arguments.runs:,} runs on {arguments.database}, Chromium {browser.version}\n")
        print(f"{'page':24} {'first paint':>12} {'there':>10} {'slowest':>10}", flush=True)
        for name, (path, selector) in PAGES.items():
            times = [await look(browser, f"{address}{path}", selector) for _ in range(REPEATS + 1)][1:]
            painted, there = (statistics.median(each) for each in zip(*times, strict=True))
            if max(painted, there) > GOAL:
                slow.append(name)
            latest = max(there for _, there in times)
            print(f"{name:24} {painted:9.0f} ms {there:7.0f} ms {latest:7.0f} ms", flush=True)
        await browser.close()
    return slow


async def look(browser: Any, address: str, selector: str) -> tuple[float, float]:
    """Milliseconds until the first paint, and until there is what the page is for."""
    context = await browser.new_context(viewport={"width": 1240, "height": 860})
    try:
        page = await context.new_page()
        await page.add_init_script(f"({NOTE_WHEN_THERE})({selector!r})")
        await page.goto(address, wait_until="commit")
        async with asyncio.timeout(60):
            painted, there = await page.evaluate(READ_WHEN_KNOWN)
        return float(painted), float(there)
    finally:
        await context.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
