"""The datasource block of a schema: its provider and its URLs.

Prisma 6 requires the URLs in the datasource, and Prisma 7 refuses them. Schemas contain them, and the engines of Prisma
7 get the schema without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prisma_inprocess.errors import ConfigurationError

PROVIDERS: Final = ("postgresql", "sqlite")

_URL_LINE: Final = re.compile(
    r'^[ \t]*(url|directUrl|shadowDatabaseUrl)[ \t]*=[ \t]*(?:env\(\s*"([^"]+)"\s*\)|"([^"]*)")[^\n]*$', re.MULTILINE
)
_DATASOURCE: Final = re.compile(r"^[ \t]*datasource\s+\w+\s*\{.*?^[ \t]*\}", re.MULTILINE | re.DOTALL)
_CONFIGURATION: Final = re.compile(r"^[ \t]*(datasource|generator)\s+(\w+)\s*\{.*?^[ \t]*\}", re.MULTILINE | re.DOTALL)
_SCHEMAS: Final = re.compile(r"^[ \t]*schemas[ \t]*=[ \t]*\[(.*?)\]", re.MULTILINE | re.DOTALL)
_TEXT: Final = re.compile(r'"([^"]*)"')
_PROVIDER: Final = re.compile(r'^[ \t]*provider[ \t]*=[ \t]*"([^"]*)"', re.MULTILINE)


@dataclass(slots=True, frozen=True)
class Setting:
    """A URL as a schema writes it: the name of an environment variable, or the URL itself."""

    variable: str | None
    value: str | None

    def __repr__(self) -> str:
        return f"Setting(variable={self.variable!r})"  # a URL may hold a password

    def resolve(self, environment: Mapping[str, str]) -> str:
        """The URL. Raises: ConfigurationError if the environment variable is not set, or the URL is empty."""
        found = self.value if self.variable is None else environment.get(self.variable)
        if found:
            return found
        if self.variable is None:
            raise ConfigurationError("the URL of the schema's datasource is empty")
        raise ConfigurationError(
            f"the environment variable {self.variable} is not set, but the schema's datasource reads it. Set it, or "
            "write it into a file .env beside the schema"
        )


@dataclass(slots=True, frozen=True)
class Datasource:
    """The datasource block of a schema.

    Attributes:
        provider: `postgresql` or `sqlite`.
        url: The URL of the application.
        direct_url: The URL of migrations, if it differs (`directUrl`).
        shadow_database_url: The database that `migrate dev` may empty (`shadowDatabaseUrl`).
        schemas: The database schemas of the models (`schemas`). Empty: the schema of the URL.
    """

    provider: str
    url: Setting
    direct_url: Setting | None
    shadow_database_url: Setting | None
    schemas: tuple[str, ...]


def read_datasource(schema: str) -> Datasource:
    """The datasource of a schema. Without a `url` it is `env("DATABASE_URL")`, as Prisma 7 writes its schemas.

    Raises:
        ConfigurationError: there is no datasource block, or none that this package supports.
    """
    block = _DATASOURCE.search(schema)
    if block is None:
        raise ConfigurationError("the schema has no datasource block")
    provider = _PROVIDER.search(block[0])
    name = {"postgres": "postgresql"}.get(provider[1], provider[1]) if provider else None
    if name not in PROVIDERS:
        raise ConfigurationError(
            f"the provider of the schema's datasource must be one of {', '.join(PROVIDERS)}, got {name!r}"
        )
    urls = {line[1]: Setting(line[2], line[3]) for line in _URL_LINE.finditer(block[0])}
    url = urls.get("url", Setting("DATABASE_URL", None))
    schemas = _SCHEMAS.search(block[0])
    names = tuple(_TEXT.findall(schemas[1])) if schemas else ()
    return Datasource(name, url, urls.get("directUrl"), urls.get("shadowDatabaseUrl"), names)


def keep_configuration(new: str, old: str) -> str:
    """Return a schema with the datasource and generator blocks of another one, unchanged and with the URLs."""
    written = {(block[1], block[2]): block[0] for block in _CONFIGURATION.finditer(old)}
    return _CONFIGURATION.sub(lambda block: written.get((block[1], block[2]), block[0]), new)


def strip_urls(schema: str) -> tuple[str, Mapping[str, str | None]]:
    """Return a schema without the URLs of its datasource, and its `url` in the form of the client's generator."""
    url: dict[str, str | None] = {"fromEnvVar": "DATABASE_URL", "value": None}

    def strip_line(line: re.Match[str]) -> str:
        if line[1] == "url":
            url.update({"fromEnvVar": line[2], "value": line[3]})
        return ""

    def strip_block(block: re.Match[str]) -> str:
        return _URL_LINE.sub(strip_line, block[0])

    return _DATASOURCE.sub(strip_block, schema), url
