"""Protects an unguarded console from other web sites (DNS rebinding).

A site can let its own name point to 127.0.0.1 for a moment. For the browser, its page and the console then have the
same origin, so the page could read and change runs. The browser still sends that name as `Host`, which the console
checks.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Final

from fastapi import Request

from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.web.problems import NotPermittedError

_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE | re.ASCII)


def required_host(further: Sequence[str]) -> Callable[[Request], None]:
    """Return a dependency that accepts only requests to this machine's own names.

    Args:
        further: Other names and addresses that count as well, without ports.

    Raises:
        ConfigurationError: `further` has something else.
    """
    if isinstance(further, str):
        raise ConfigurationError(f"hosts must be a list of host names, got {further!r}")
    known = frozenset(_known(each) for each in further)

    def require_host(request: Request) -> None:
        given = request.headers.getlist("host")
        name = _name(given[0]) if len(given) == 1 else None
        if name is not None and (name in known or _is_loopback(name)):
            return
        raise NotPermittedError(
            "this console has no guard, so it answers only to localhost and loopback addresses as the request's Host. "
            "Give durable.router() a login, dependencies=[...], or the host's name in hosts=[...]"
        )

    return require_host


def _known(host: object) -> str:
    found = _HOST.fullmatch(host) if isinstance(host, str) else None
    if found is None or found["port"] is not None:
        raise ConfigurationError(f"hosts must hold names without ports, such as 'console.internal', got {host!r}")
    return _plain(found["name"])


def _name(host: str) -> str | None:
    """Return the name or address in a `Host` header, in one form. None if it cannot be read."""
    found = _HOST.fullmatch(host)
    return None if found is None else _plain(found["name"])


def _plain(name: str) -> str:
    return name.lower().rstrip(".").strip("[]")


def _is_loopback(name: str) -> bool:
    """Return whether a name always means this machine. `.localhost` does (RFC 6761)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
