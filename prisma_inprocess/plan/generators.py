"""Identifiers that the database does not make: uuid(), cuid(), nanoid(), ulid()."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NANOID: Final = "useandom-26T198340PX75pxJACKVERYMINDBUSHWOLF_GQZbfghjklqvwyzrict"


def find(name: str, arguments: Sequence[Any]) -> Callable[[], str] | None:
    """The generator for a default such as `uuid(7)`, or None if there is no such generator."""
    first = arguments[0] if arguments else None
    if name == "uuid":
        return {None: uuid4, 4: uuid4, 7: uuid7}.get(first)
    if name == "cuid":
        return {None: cuid1, 1: cuid1, 2: cuid2}.get(first)
    if name == "ulid":
        return ulid
    if name == "nanoid":
        size = 21 if first is None else int(first)
        return lambda: nanoid(size)
    return None


def uuid4() -> str:
    return str(uuid.uuid4())


def uuid7() -> str:
    """RFC 9562 version 7: 48 bits of milliseconds, the rest random."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def nanoid(size: int) -> str:
    return "".join(_NANOID[byte & 63] for byte in secrets.token_bytes(size))


def ulid() -> str:
    """26 characters: 48 bits of milliseconds and 80 random bits, in Crockford's base 32."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
    return digits or "0"


class _Counter:
    """The part of a cuid that keeps two from one process and one millisecond apart; shared by threads, reset in a
    forked child by its pid.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(secrets.randbelow(36**4))
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            return next(self._numbers) % 36**4


_count = _Counter()


def cuid1() -> str:
    """`c`, milliseconds, a counter, a fingerprint of the process, random: 25 characters."""
    hostname = socket.gethostname()
    host = sum(map(ord, hostname), len(hostname) + 36)
    fingerprint = _base36(os.getpid()).rjust(2, "0")[-2:] + _base36(host).rjust(2, "0")[-2:]
    random = "".join(_base36(secrets.randbelow(36**4)).rjust(4, "0") for _ in range(2))
    return f"c{_base36(time.time_ns() // 1_000_000)}{_base36(_count()).rjust(4, '0')}{fingerprint}{random}"


def cuid2() -> str:
    """A random letter followed by base 36 of a hash over time, entropy and a counter: 24 characters."""
    letter = _BASE36[10 + secrets.randbelow(26)]
    material = f"{time.time_ns()}{secrets.token_hex(24)}{_count()}{os.getpid()}"
    digest = int.from_bytes(hashlib.sha3_512(material.encode()).digest(), "big")
    return (letter + _base36(digest)[1:])[:24]
