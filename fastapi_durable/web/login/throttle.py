"""Limits how often a user may try to sign in, with a bounded amount of memory."""

import hashlib
import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

_WINDOW: Final = timedelta(minutes=1)
_MOST_KEYS: Final = 10_000
_PER_PAIR: Final = 5
_PER_ADDRESS: Final = 20
_PER_NAME: Final = 50


@dataclass(slots=True)
class _Count:
    until: datetime
    attempts: int = 0


class AttemptThrottle:
    """Counts attempts by address and name, by address, and by name, for a minute each.

    An attempt counts before its password is checked, so parallel attempts have no advantage. A successful attempt is
    removed. Each process has its own counts. The limit for a name alone is high: it slows down guessing from many
    addresses, and an attacker needs as many attempts to lock a user out.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, _Count] = OrderedDict()

    def admit(self, address: str, name: str, now: datetime) -> timedelta | None:
        """Count an attempt and return None. If there were too many, count nothing and return how long to wait."""
        found = [(key, limit, self._counts.get(key)) for key, limit in _keys(address, name)]
        waits = [
            count.until - now
            for _, limit, count in found
            if count is not None and count.attempts >= limit and now < count.until
        ]
        if waits:
            return max(waits)
        for key, _, old in found:
            count = old if old is not None and now < old.until else _Count(now + _WINDOW)
            count.attempts += 1
            self._counts[key] = count
            self._counts.move_to_end(key)
        while len(self._counts) > _MOST_KEYS:
            self._counts.popitem(last=False)
        return None

    def forgive(self, address: str, name: str) -> None:
        """Remove the last attempt from the counts, because it succeeded."""
        for key, _ in _keys(address, name):
            count = self._counts.get(key)
            if count is not None:
                count.attempts = max(0, count.attempts - 1)


def _keys(address: str, name: str) -> list[tuple[bytes, int]]:
    """Return digests of the keys: a name may be very long, and people type passwords there by mistake."""
    network = _network(address)
    parts = (("pair", network, name), _PER_PAIR), (("address", network), _PER_ADDRESS), (("name", name), _PER_NAME)
    return [
        (hashlib.blake2b("\0".join(part).encode("utf-8", "surrogatepass"), digest_size=16).digest(), limit)
        for part, limit in parts
    ]


def _network(address: str) -> str:
    """Return the network of one client: an IPv4 address, or an IPv6 network, whose 2**64 addresses belong to one
    customer.

    A server that listens on IPv6 writes the IPv4 address 10.0.0.1 as `::ffff:10.0.0.1`.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 64), strict=False) if mapped is None else mapped)
