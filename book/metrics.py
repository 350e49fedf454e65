"""The metrics that a process exposes to Prometheus."""

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

from book.markdown import code, table
from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, Queue
from fastapi_durable.observe.prometheus import Counter, Histogram
from fastapi_durable.web.exposition import exposition

_HELP = re.compile(r"^# HELP (\w+) (.*)$", re.MULTILINE)


class Metric(NamedTuple):
    """A metric by its name, its kind, its labels and its help."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def metrics() -> Iterator[Metric]:
    """Yield every metric that a process with a worker and a queue exposes."""
    text, counted = asyncio.run(_exposed())
    for name, help in _HELP.findall(text):
        kind = re.search(rf"^# TYPE {name} (\w+)$", text, re.MULTILINE)
        sample = re.search(rf"^{name}\{{(.*?)\}}", text, re.MULTILINE)
        labels = counted.get(name) or tuple(re.findall(r"(\w+)=", sample[1] if sample else ""))
        yield Metric(name, kind[1] if kind else "", labels, help)


def metrics_table() -> str:
    """Return the table of metrics."""
    rows = ((code(each.name), each.kind, ", ".join(map(code, each.labels)), each.help) for each in metrics())
    return table(("Metric", "Kind", "Labels", "What it counts"), rows)


async def _exposed() -> tuple[str, dict[str, tuple[str, ...]]]:
    options = DurableOptions(store=MemoryStateStore(), queues=[Queue("example")])
    async with DurableModule.for_root(options).running() as runtime:
        while not await runtime.service.queues():  # noqa: ASYNC110 (a worker stores its queues soon after the start)
            await asyncio.sleep(0.01)
        text = await exposition(runtime, runtime.service, of_process=True)
        counted = {
            each.name: each.labels for each in vars(runtime.metrics).values() if isinstance(each, Counter | Histogram)
        }
    return text, counted
