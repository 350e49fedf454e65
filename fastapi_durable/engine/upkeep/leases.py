"""The leases of one worker, which its event loop and its lease thread share."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from fastapi_durable.model.records import Lease


@dataclass(frozen=True, slots=True)
class _HeldLease:
    token: str
    until: datetime


class HeldLeases:
    """Knows which leases a worker holds, and until when. Any thread may read it.

    A token whose runs are not known yet counts as well: between the commit of a claim and its answer, the runs are
    leased here but not driven.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, _HeldLease] = {}
        self._expected: dict[str, datetime] = {}

    def expect(self, token: str, until: datetime) -> None:
        """Note that runs are being leased under this token."""
        with self._lock:
            self._expected[token] = until

    def expect_no_more(self, token: str) -> datetime | None:
        """Note that the runs leased under this token are known now, or that there are none. Return until when the
        leases hold.
        """
        with self._lock:
            return self._expected.pop(token, None)

    def hold(self, lease: Lease, until: datetime) -> None:
        """Note that the run is driven under this lease from now on, and under no other."""
        with self._lock:
            self._held[lease.run_id] = _HeldLease(lease.token, until)

    def drop(self, lease: Lease) -> None:
        """Note that the run is not driven under this lease any more."""
        with self._lock:
            if (held := self._held.get(lease.run_id)) is not None and held.token == lease.token:
                del self._held[lease.run_id]

    def held_until(self, lease: Lease) -> datetime | None:
        """Return until when this lease holds. None if the run is not driven under it."""
        with self._lock:
            held = self._held.get(lease.run_id)
            return held.until if held is not None and held.token == lease.token else None

    def tokens(self, *, ending_before: datetime | None = None) -> set[str]:
        """Return the tokens of all leases, expected ones included, or of those that end before a moment."""
        with self._lock:
            leases = [*self._expected.items(), *((held.token, held.until) for held in self._held.values())]
        return {token for token, until in leases if ending_before is None or until < ending_before}

    def renewed(self, leases: Collection[Lease], until: datetime) -> None:
        """Note that these leases hold until then. A lease that was dropped meanwhile stays dropped."""
        self.prolonged({lease.run_id: lease.token for lease in leases}, until)

    def prolonged(self, token_of_run: Mapping[str, str], until: datetime) -> None:
        """The same for leases that may be only expected so far, by their tokens."""
        with self._lock:
            for run_id, token in token_of_run.items():
                held = self._held.get(run_id)
                if held is not None and held.token == token and held.until < until:
                    self._held[run_id] = replace(held, until=until)
            for token in self._expected.keys() & set(token_of_run.values()):
                self._expected[token] = max(self._expected[token], until)
