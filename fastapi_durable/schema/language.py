"""A parser for a part of Prisma's schema language: models, their fields and attributes, and the datasource's provider.

Formatting, comments, order and everything this library does not ask about (enums, views, generators) are read over.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final


class PrismaSyntaxError(ValueError):
    """The text is not a Prisma schema that can be read."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """`@name(arguments)` of a field, or `@@name(arguments)` of a model, without the at signs."""

    name: str
    arguments: str | None = None

    def text_argument(self, keyword: str) -> str | None:
        """Return a string argument, given by keyword or as the first positional one."""
        if self.arguments is None:
            return None
        for argument in _split(self.arguments):
            key, value = _keyword(argument)
            if key in (keyword, None) and value.startswith('"'):
                return value.strip('"')
        return None

    def argument(self, keyword: str) -> str | None:
        """Return the text of an argument given by keyword."""
        for argument in _split(self.arguments or ""):
            key, value = _keyword(argument)
            if key == keyword:
                return value
        return None

    def fields(self) -> tuple[str, ...]:
        """Return the fields that an index, id or unique attribute lists, without their sort order or operator class."""
        for argument in _split(self.arguments or ""):
            key, value = _keyword(argument)
            if key in ("fields", None) and value.startswith("["):
                return tuple(item.partition("(")[0].strip() for item in _split(value[1:-1]))
        return ()


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a model."""

    name: str
    type: str
    optional: bool
    list: bool
    attributes: tuple[Attribute, ...]
    source: str

    @property
    def column(self) -> str:
        """The column's name in the database."""
        mapped = self.attribute("map")
        return (mapped.text_argument("name") if mapped else None) or self.name

    @property
    def default(self) -> str | None:
        """The text of `@default(...)`."""
        default = self.attribute("default")
        return default.arguments if default else None

    @property
    def type_text(self) -> str:
        """The type as the schema writes it, such as `Json?`."""
        return f"{self.type}{'[]' if self.list else ''}{'?' if self.optional else ''}"

    def attribute(self, name: str) -> Attribute | None:
        """Return the attribute of this name, if the field has it."""
        return next((attribute for attribute in self.attributes if attribute.name == name), None)

    def native_type(self) -> str | None:
        """Return the `@db.` type, such as `VarChar(191)`."""
        for attribute in self.attributes:
            if attribute.name.startswith("db."):
                arguments = f"({attribute.arguments})" if attribute.arguments is not None else ""
                return attribute.name.removeprefix("db.") + arguments
        return None


@dataclass(frozen=True, slots=True)
class Block:
    """A block attribute over several fields: `index`, `unique` or `id`."""

    kind: str
    fields: tuple[str, ...]
    map: str | None
    type: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a Prisma schema."""

    name: str
    fields: Mapping[str, Field]
    blocks: tuple[Block, ...]
    table: str
    ignored: bool
    source: str

    @property
    def id(self) -> tuple[str, ...]:
        """The fields of the primary key."""
        for field in self.fields.values():
            if field.attribute("id"):
                return (field.name,)
        return next((block.fields for block in self.blocks if block.kind == "id"), ())


@dataclass(frozen=True, slots=True)
class Generator:
    """A generator block: the provider of a client, and its output. None: the generator's default."""

    provider: str
    output: str | None


@dataclass(frozen=True, slots=True)
class Schema:
    """The models of a Prisma schema, the provider and the variable its datasource names, and its generators."""

    models: tuple[Model, ...]
    provider: str | None
    url_variable: str | None = None
    generators: tuple[Generator, ...] = ()

    def find_model(self, name: str) -> Model | None:
        """Return the model of this name, or None."""
        return next((model for model in self.models if model.name == name), None)


_BLOCK_START: Final = re.compile(r"^(\w+)\s+(\w+)\s*\{$")
_ENV: Final = re.compile(r'^env\(\s*"(\w+)"\s*\)$')
_FIELD: Final = re.compile(r"^(\w+)\s+(\w+(?:\(.*?\))?)(\[\])?(\?)?\s*(.*)$", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r"@@?([\w.]+)\s*(\()?")
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"


def read_schema(path: Path) -> Schema:
    """Read a schema file, or all `.prisma` files below a folder, as Prisma does."""
    if path.is_dir():
        files = sorted(path.rglob("*.prisma"))
        if not files:
            raise PrismaSyntaxError(f"the folder {path} holds no .prisma file")
    else:
        files = [path]
    return parse_schema("\n".join(file.read_text(encoding="utf-8") for file in files))


def parse_schema(text: str) -> Schema:
    """Parse the text of a schema."""
    models: list[Model] = []
    provider: str | None = None
    url_variable: str | None = None
    generators: list[Generator] = []
    for kind, name, statements in _blocks(text):
        if kind == "model":
            models.append(_model(name, statements))
        elif kind == "datasource":
            settings = _settings(statements)
            provider = settings.get("provider", provider)
            variable = _ENV.match(settings.get("url", ""))
            url_variable = variable[1] if variable else None
        elif kind == "generator":
            settings = _settings(statements)
            generators.append(Generator(settings.get("provider", ""), settings.get("output")))
    return Schema(models=tuple(models), provider=provider, url_variable=url_variable, generators=tuple(generators))


def _settings(statements: list[str]) -> dict[str, str]:
    """Return the `key = value` lines of a block, without the quotes of a value."""
    pairs = (statement.partition("=") for statement in statements)
    return {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield kind, name and statements of every `kind name { ... }`."""
    block: tuple[str, str, list[str]] | None = None
    for statement in _statements(text):
        if block is None:
            start = _BLOCK_START.match(statement)
            if start is None:
                raise PrismaSyntaxError(f"expected a block such as `model Name {{`, found: {statement}")
            block = (start[1], start[2], [])
        elif statement == "}":
            yield block
            block = None
        else:
            block[2].append(statement)
    if block is not None:
        raise PrismaSyntaxError(f"the block `{block[0]} {block[1]}` is not closed")


def _statements(text: str) -> Iterator[str]:
    """Yield the statements: lines without comments, joined while a parenthesis or bracket is open."""
    pending = ""
    for line in _without_block_comments(text).splitlines():
        code = _without_comment(line).strip()
        pending = f"{pending} {code}".strip() if pending else code
        if pending and _depth(pending) <= 0:
            # Prisma refuses a whole model on one line, and a brace on the next line
            yield pending
            pending = ""
    if pending:
        yield pending


def _without_block_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def _without_comment(line: str) -> str:
    for index, character in _outside_strings(line):
        if character == "/" and line.startswith("//", index):
            return line[:index]
    return line


def _depth(code: str) -> int:
    depth = 0
    for _, character in _outside_strings(code):
        depth += (character in "([") - (character in ")]")
    return depth


def _outside_strings(code: str) -> Iterator[tuple[int, str]]:
    """Yield index and character of everything that is not inside a double-quoted string."""
    quoted = escaped = False
    for index, character in enumerate(code):
        if quoted:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        else:
            yield index, character


def _split(arguments: str) -> list[str]:
    """Split at the commas outside strings and brackets."""
    parts: list[str] = []
    depth = start = 0
    for index, character in _outside_strings(arguments):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append(arguments[start:index].strip())
            start = index + 1
    parts.append(arguments[start:].strip())
    return [part for part in parts if part]


def _keyword(argument: str) -> tuple[str | None, str]:
    named = re.match(r"^(\w+)\s*:\s*(.*)$", argument, re.DOTALL)
    return (named[1], named[2]) if named else (None, argument)


def _attributes(code: str) -> tuple[Attribute, ...]:
    found: list[Attribute] = []
    position = 0
    while match := _ATTRIBUTE.search(code, position):
        position = match.end()
        if match[2] is None:
            found.append(Attribute(match[1]))
            continue
        depth = 1
        for index, character in _outside_strings(code[position:]):
            depth += (character in _OPENING) - (character in _CLOSING)
            if depth == 0:
                found.append(Attribute(match[1], code[position : position + index].strip()))
                position += index + 1
                break
        else:
            raise PrismaSyntaxError(f"a parenthesis is not closed in: {code}")
    return tuple(found)


def _model(name: str, statements: list[str]) -> Model:
    fields: dict[str, Field] = {}
    blocks: list[Block] = []
    table = name
    ignored = False
    for statement in statements:
        if statement.startswith("@@"):
            (attribute, *_) = _attributes(statement)
            if attribute.name == "map":
                table = attribute.text_argument("name") or table
            elif attribute.name == "ignore":
                ignored = True
            elif attribute.name in ("id", "unique", "index"):
                blocks.append(
                    Block(
                        kind=attribute.name,
                        fields=attribute.fields(),
                        map=(attribute.argument("map") or "").strip('"') or None,
                        type=attribute.argument("type"),
                        source=statement,
                    )
                )
            continue
        parts = _FIELD.match(statement)
        if parts is None:
            raise PrismaSyntaxError(f"cannot read this line of model {name}: {statement}")
        fields[parts[1]] = Field(
            name=parts[1],
            type=parts[2],
            list=parts[3] is not None,
            optional=parts[4] is not None,
            attributes=_attributes(parts[5]),
            source=re.sub(r"\s+", " ", statement),
        )
    source = f"model {name} {{ ... }}"
    return Model(name=name, fields=fields, blocks=tuple(blocks), table=table, ignored=ignored, source=source)
