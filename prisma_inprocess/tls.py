"""The server that a connection URL requires: the combined meaning of its TLS options.

A URL that asks for verification gets it, or no connection. A TLS option that is unknown, or that contradicts another,
is an error: a misspelt option would otherwise send the password to any server that answers.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prisma_inprocess.errors import ConfigurationError

_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERIFIED_MODES: Final = ("verify-ca", "verify-full")
_ACCEPTS: Final = ("strict", "accept_invalid_certs")
_KNOWN: Final = ("sslmode", "sslaccept", "sslcert", "sslrootcert")
_OF_LIBPQ: Final = ("channel_binding", "gssencmode", "require_auth", "requirepeer", "requiressl")
"""Options of libpq that protect a password as well, and that cannot be fulfilled here."""
_NO_PROTECTION: Final = ("disable", "prefer", "0")


@dataclass(frozen=True, slots=True)
class Tls:
    """The requirements on the server before it receives a password.

    Attributes:
        mode: As in libpq. None: not said, so the environment's `PGSSLMODE` or else `prefer`.
        verify: The verified parts of the server's certificate: its authority, also its name, or those of libpq's files
            and environment (None).
        certificate: File with the certificates of the authorities; None: those of the system.
    """

    mode: str | None = None
    verify: Literal["authority", "name"] | None = None
    certificate: str | None = None

    def for_asyncpg(self) -> ssl.SSLContext | str | None:
        """The `ssl` argument of `asyncpg.connect`. A context makes TLS a condition.

        Raises:
            OSError: the certificate's file cannot be read.
        """
        if self.verify is None:
            return self.mode
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = self.verify == "name"
        return context


def read_tls(options: Sequence[tuple[str, str]]) -> Tls:
    """The TLS options among those of a URL.

    Raises:
        ConfigurationError: an option is not known, is given twice, has an unknown value, or contradicts another one.
    """
    given = _known(options)
    mode = _one_of(given, "sslmode", _MODES)
    accept = _one_of(given, "sslaccept", _ACCEPTS)
    certificate = _certificate(given)
    wish = _wish(mode, accept, certificate)
    if wish is None:
        return Tls(mode=mode)
    for refusal in (f"sslmode={mode}", f"sslaccept={accept}"):
        if refusal in ("sslmode=disable", "sslaccept=accept_invalid_certs"):
            raise ConfigurationError(
                f"{refusal} in the connection URL contradicts {wish}, which asks for a verified server. "
                "Leave one of them out"
            )
    if accept != "strict" and mode in _VERIFIED_MODES and certificate is None:
        return Tls(mode=mode)
    authority_only = mode == "verify-ca" and accept != "strict"
    return Tls(mode, "authority" if authority_only else "name", certificate)


def _known(options: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in options:
        if name in _OF_LIBPQ and value not in _NO_PROTECTION:
            raise ConfigurationError(
                f"{name}={value} in the connection URL is not supported. Leave it out, and use sslaccept=strict to be "
                "sure of the server"
            )
        if not name.lower().startswith("ssl"):
            continue
        if name not in _KNOWN:
            raise ConfigurationError(
                f"{name} in the connection URL is not supported; the TLS options are {', '.join(_KNOWN)}. Client "
                "certificates are not supported"
            )
        if given.get(name, value) != value:
            raise ConfigurationError(f"{name} stands twice in the connection URL, with different values")
        if not value:
            raise ConfigurationError(f"{name} in the connection URL is empty. Give it a value, or leave it out")
        given[name] = value
    return given


def _one_of(given: dict[str, str], name: str, values: tuple[str, ...]) -> str | None:
    value = given.get(name)
    if value is not None and value not in values:
        raise ConfigurationError(f"{name} in the connection URL must be one of {', '.join(values)}, got {value!r}")
    return value


def _certificate(given: dict[str, str]) -> str | None:
    """The file of the authorities, which Prisma calls `sslcert`, and libpq `sslrootcert`."""
    files = {given[name] for name in ("sslcert", "sslrootcert") if name in given}
    if len(files) > 1:
        raise ConfigurationError(
            "sslcert and sslrootcert in the connection URL name different files, and both mean the certificate of the "
            "server's authority. Leave one of them out"
        )
    for file in files:
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            raise ConfigurationError(
                f"the certificate {file!r} that the connection URL names cannot be read: {error}"
            ) from error
        return file
    return None


def _wish(mode: str | None, accept: str | None, certificate: str | None) -> str | None:
    """The option that asks for a verified server, for a message; None: no option does."""
    if accept == "strict":
        return "sslaccept=strict"
    if mode in _VERIFIED_MODES:
        return f"sslmode={mode}"
    return None if certificate is None else "sslcert"
