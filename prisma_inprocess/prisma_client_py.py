"""Prisma Client Python's generator: the one place that imports PyPI's `prisma`.

Its project is archived, so it is pinned to its last version. Only `generate` needs it: a generated client is a package
of its own. `docs/decisions/0015-a-pinned-generator.md` says how it would be left.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from prisma._compat import model_parse
from prisma._config import config
from prisma.generator import generator as _generator
from prisma.generator._dsl_parser import parse_schema_dsl
from prisma.generator.models import FAKER, PythonData
from prisma.generator.utils import SAMPLER_ITER_MAPPING

from prisma_inprocess.errors import GenerationError

VERSION: Final = "0.15.0"
_TYPES: Final = "types.py.jinja"
# The types of what is included are made for each pair of models, though they depend on the included model only. Made
# once for each model, they grow with the schema and not with its square. The old names stay for related models.
_TYPES_CHANGES: Final = (
    (
        "'{{ field.relational_args_type }}From{{ model.name }}']",
        "'{{ field.relational_args_type }}From{{ field.type }}']",
    ),
    ("{% for related in dmmf.datamodel.models %}\n", "{% for related in [model] %}\n"),
    (
        "'{{ field.relational_args_type }}From{{ model.name + iteration }}']",
        "'{{ field.relational_args_type }}From{{ field.type + iteration }}']",
    ),
    (
        """\
# we have to import ourselves as types can be namespaced to types
from . import types, enums, models, fields
""",
        """\
{% for model in dmmf.datamodel.models %}
{% for name in model.relational_fields | map(attribute='type') | unique if name != model.name %}
{{ name }}IncludeFrom{{ model.name }} = {{ name }}IncludeFrom{{ name }}
{{ name }}ArgsFrom{{ model.name }} = {{ name }}ArgsFrom{{ name }}
FindMany{{ name }}ArgsFrom{{ model.name }} = FindMany{{ name }}ArgsFrom{{ name }}
{% endfor %}
{% endfor %}


# the file gets another name than `types`
from . import _declared_types as types, enums, models, fields
""",
    ),
)


@dataclass(slots=True, frozen=True)
class PartialTypes:
    """A schema's script that makes partial types, and what their file is rendered with."""

    run_script: Callable[[], None]
    _parameters: Mapping[str, Any]

    def write(self, output: Path, created: list[Any]) -> None:
        """Write the partial types that the script created into the generated package."""
        _generator.render_template(output, "partials.py.jinja", {**self._parameters, "partial_models": created})


def write_client(target: Path, data: Mapping[str, Any]) -> PartialTypes | None:
    """Write a client as Prisma Client Python writes it.

    Args:
        target: An empty folder.
        data: Return the data that the Prisma CLI would send to the generator, without its version.

    Returns:
        The partial types that are left to make, if the schema names a script: the script imports the client, so it can
        only run when the client is in its place.

    Raises:
        GenerationError: The generator refuses the schema, or another version of `prisma` is installed.
    """
    if version("prisma") != VERSION:
        raise GenerationError(f"prisma {version('prisma')} is installed: run `pip install prisma=={VERSION}`")
    if Path(data["generator"]["output"]["value"]) == _generator.BASE_PACKAGE_DIR.resolve():
        raise GenerationError(
            "the client must not be written over the installed `prisma` package: choose another output"
        )
    # The made-up values in its docstrings come from a generator that is never reset: start it again, so that the
    # same schema gives the same files.
    FAKER._state = 1
    SAMPLER_ITER_MAPPING.clear()
    with contextlib.redirect_stdout(io.StringIO()), _engine_type_hidden(), _templates_changed():
        try:
            parsed = model_parse(PythonData, {**data, "version": config.expected_engine_version})
        except ValueError as error:
            raise GenerationError(f"Prisma Client Python refuses the schema: {error}") from error
        script = parsed.generator.config.partial_type_generator
        parsed.generator.config.partial_type_generator = None
        parsed.generator.output.value = str(target)
        _generator.Generator().generate(parsed)
    return None if script is None else PartialTypes(script.run, parsed.to_params())


def accessor(model: Mapping[str, Any]) -> str:
    """The client's attribute for a model of the schema: its name in lower case, or what its documentation says in
    `@Python(instance_name: "...")`.
    """
    parsed = parse_schema_dsl(model.get("documentation") or "")
    chosen = parsed["value"]["arguments"].get("instance_name") if parsed["type"] == "ok" else None
    return str(chosen or model["name"].lower())


@contextlib.contextmanager
def _engine_type_hidden() -> Iterator[None]:
    """The generator prefers this variable to the schema; the migration CLI is often configured with it, for another
    engine.
    """
    name = "PRISMA_CLIENT_ENGINE_TYPE"
    saved = os.environ.pop(name, None)
    try:
        yield
    finally:
        if saved is not None:
            os.environ[name] = saved


@contextlib.contextmanager
def _templates_changed() -> Iterator[None]:
    loader: Any = _generator.DEFAULT_ENV.loader
    get_source = loader.get_source

    def get_changed(environment: Any, name: str) -> Any:
        text, file, is_fresh = get_source(environment, name)
        return (changed(name, text, _TYPES_CHANGES) if name == _TYPES else text), file, is_fresh

    loader.get_source = get_changed
    try:
        yield
    finally:
        del loader.get_source  # the class's own again


def changed(name: str, text: str, changes: tuple[tuple[str, str], ...], times: int = 1) -> str:
    """A text of Prisma Client Python's with some of its lines replaced.

    Raises: GenerationError if one of them does not stand there exactly as often as expected.
    """
    for old, new in changes:
        if text.count(old) != times:
            raise GenerationError(
                f"{name} does not contain {times}x:\n{old}is another version of `prisma` installed than {VERSION}?"
            )
        text = text.replace(old, new)
    return text
