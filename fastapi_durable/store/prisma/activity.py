"""Counts the runs that began and ended in each bucket of time."""

from typing import Any

from fastapi_durable.model.activity import ActivityBucket, ActivityQuery, latency
from fastapi_durable.model.clock import to_millis
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.sql.activity import COUNTED, activity


class ActivityOperations(Operations):
    async def run_activity(self, query: ActivityQuery) -> list[ActivityBucket]:
        sql = await self._database.sql()
        rows = await self._database.query(sql, activity(sql, query, self._scope))
        return [_bucket(row, query) for row in sorted(rows, key=lambda row: int(row["n"]))]


def _bucket(row: dict[str, Any], query: ActivityQuery) -> ActivityBucket:
    start = query.start + query.width * int(row["n"])
    end = to_millis(start + query.width)
    counts: dict[str, int] = {}
    estimated = False
    for kind in COUNTED:
        looked_at, hits, oldest = (int(part) for part in str(row[kind]).split(","))
        counts[kind] = hits
        if looked_at >= query.looked_at and oldest > to_millis(start):
            # The counted runs reach back to `oldest`. Before it, assume the same density.
            counts[kind] = round(hits * (end - to_millis(start)) / max(1, end - oldest))
            estimated = True
    millis = [float(each) for each in str(row["latencies"] or "").split(",") if each]
    return ActivityBucket(
        start=start,
        started=counts["started"],
        completed=counts["completed"],
        failed=counts["failed"] + counts["dead"],
        cancelled=counts["cancelled"],
        estimated=estimated,
        p50=latency(millis, 0.5),
        p95=latency(millis, 0.95),
    )
