"""The accepted inputs of every argument of every operation, and the values that may become placeholders.

Prisma's schema description marks the inputs that a query plan may leave open (`isParameterizable`). From it, `generate`
writes a compact graph. At run time, a request is compared with this graph, so that plans are compiled once per shape
and not once per value. The compiler rejects a placeholder where none is allowed. So a mistake here causes an error,
never a wrong query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# The root of each action in the description's `mappings`, under the JSON protocol's name for it.
ACTIONS: Final = (
    "findUnique",
    "findUniqueOrThrow",
    "findFirst",
    "findFirstOrThrow",
    "findMany",
    "createOne",
    "createMany",
    "updateOne",
    "updateMany",
    "upsertOne",
    "deleteOne",
    "deleteMany",
    "aggregate",
    "groupBy",
)


@dataclass(slots=True, frozen=True)
class Edge:
    """The accepted types of one argument or input field.

    Attributes:
        scalars: Scalar types that may be a placeholder.
        lists: Element types of lists that may be a placeholder.
        declared: Every scalar type that is accepted, placeholder or not.
        objects: Names of the input object types that are accepted.
        object_list: Whether a list of such objects is accepted.
        enum: The enum whose value may be a placeholder, if any.
        null_kind: The enum that stands for null in a Json field (`NullableJsonNullValueInput` and its siblings),
            if any.
        nullable: Whether a plain null is accepted.
    """

    scalars: frozenset[str]
    lists: frozenset[str]
    declared: frozenset[str]
    objects: tuple[str, ...]
    object_list: bool
    enum: str | None
    null_kind: str | None
    nullable: bool

    @property
    def takes_null(self) -> bool:
        """Whether the database's NULL may be written here."""
        return self.nullable if self.null_kind is None else self.null_kind != "JsonNullValueInput"

    @property
    def is_json(self) -> bool:
        return "Json" in self.declared

    @property
    def json_filter(self) -> bool:
        """Whether this field of a filter accepts a Json filter object and nothing else."""
        return not self.declared and any(name.startswith("Json") and "Filter" in name for name in self.objects)

    @property
    def json_list_filter(self) -> bool:
        """Whether this field of a filter accepts a filter of a Json list."""
        return any(name.startswith("Json") and name.endswith("ListFilter") for name in self.objects)


Fields = Mapping[str, Edge]


@dataclass(slots=True)
class Output:
    """One field of a result type: its type, and the arguments it takes."""

    type: str
    arguments: Fields


@dataclass(slots=True)
class InputGraph:
    """The graph of one schema, built lazily: only the parts that requests reach are turned into objects."""

    data: Mapping[str, Any]
    _inputs: dict[tuple[str, ...], Fields] = field(default_factory=dict)
    _outputs: dict[str, dict[str, Output]] = field(default_factory=dict)
    _roots: dict[str, Output] = field(default_factory=dict)

    def root(self, model: str, action: str) -> Output:
        """Arguments and result type of an operation. Raises: KeyError for an unknown model or action."""
        key = f"{model}.{action}"
        found = self._roots.get(key)
        if found is None:
            found = self._roots[key] = self._output(self.data["roots"][key])
        return found

    def output(self, type_name: str) -> Mapping[str, Output]:
        """The fields of a result type that take arguments or lead to another result type."""
        found = self._outputs.get(type_name)
        if found is None:
            fields = self.data["outputs"].get(type_name, {})
            found = self._outputs[type_name] = {name: self._output(raw) for name, raw in fields.items()}
        return found

    def fields(self, edge: Edge) -> Fields:
        """The input fields below an edge: those of all object types it accepts, merged."""
        found = self._inputs.get(edge.objects)
        if found is None:
            variants: dict[str, list[list[Any]]] = {}
            for type_name in edge.objects:
                for name, raw in self.data["inputs"].get(type_name, {}).items():
                    variants.setdefault(name, []).append(raw)
            found = self._inputs[edge.objects] = {name: _edge(raws) for name, raws in variants.items()}
        return found

    def enum_values(self, name: str) -> Mapping[str, str]:
        """Database values of an enum, by their names in the schema."""
        values: Mapping[str, str] = self.data["enums"].get(name, {})
        return values

    def _output(self, raw: Mapping[str, Any]) -> Output:
        return Output(raw["type"], {name: _edge([argument]) for name, argument in raw.get("args", {}).items()})


def _edge(variants: Iterable[list[Any]]) -> Edge:
    scalars: set[str] = set()
    lists: set[str] = set()
    declared: set[str] = set()
    objects: list[str] = []
    object_list = nullable = False
    enum: str | None = None
    null_kind: str | None = None
    for parameterizable, types in variants:
        for kind, name, is_list in types:
            if kind == "scalar":
                if name == "Null":
                    nullable = True
                    continue
                declared.add(name)
                if parameterizable:
                    (lists if is_list else scalars).add(name)
            elif kind == "object":
                if name not in objects:
                    objects.append(name)
                object_list = object_list or is_list
            elif kind == "enum":
                # Lists of only enum values stay in the plan, as in Prisma's own runtime, because there are few of them.
                if parameterizable and not is_list and enum is None:
                    enum = name
            else:
                null_kind = name
    return Edge(
        frozenset(scalars),
        frozenset(lists),
        frozenset(declared),
        tuple(sorted(objects)),
        object_list,
        enum,
        null_kind,
        nullable,
    )


def build_graph(dmmf: Mapping[str, Any]) -> dict[str, Any]:
    """The compact, JSON-ready form of the graph, from Prisma's description of a schema."""
    schema = dmmf["schema"]
    outputs = {
        kind["name"]: kind["fields"]
        for namespace in ("prisma", "model")
        for kind in schema["outputObjectTypes"].get(namespace, ())
    }
    operations = {entry["name"]: entry for name in ("Query", "Mutation") for entry in outputs[name]}
    roots = {
        f"{mapping['model']}.{action}": _compact_output(operations[mapping[action]])
        for mapping in dmmf["mappings"]["modelOperations"]
        for action in ACTIONS
        if mapping.get(action) in operations
    }
    return {
        "inputs": {
            kind["name"]: {entry["name"]: _compact_input(entry) for entry in kind["fields"]}
            for namespace in ("prisma", "model")
            for kind in schema["inputObjectTypes"].get(namespace, ())
        },
        "outputs": {
            name: compact
            for name, fields in outputs.items()
            if name not in ("Query", "Mutation") and (compact := _compact_fields(fields))
        },
        "roots": roots,
        "dates": date_columns(dmmf),
        "enums": {
            enum["name"]: {value["name"]: value.get("dbName") or value["name"] for value in enum["values"]}
            for enum in dmmf["datamodel"]["enums"]
        },
    }


def date_columns(dmmf: Mapping[str, Any]) -> dict[str, list[str]]:
    """The DateTime columns of each table, by their names in the database."""
    columns = {
        model.get("dbName") or model["name"]: [
            entry.get("dbName") or entry["name"] for entry in model["fields"] if entry["type"] == "DateTime"
        ]
        for model in dmmf["datamodel"]["models"]
    }
    return {table: names for table, names in columns.items() if names}


def _compact_fields(fields: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        entry["name"]: _compact_output(entry)
        for entry in fields
        if entry["args"] or entry["outputType"]["location"] == "outputObjectTypes"
    }


def _compact_output(entry: Mapping[str, Any]) -> dict[str, Any]:
    compact: dict[str, Any] = {"type": entry["outputType"]["type"]}
    if entry["args"]:
        compact["args"] = {argument["name"]: _compact_input(argument) for argument in entry["args"]}
    return compact


def _compact_input(entry: Mapping[str, Any]) -> list[Any]:
    types = []
    for accepted in entry["inputTypes"]:
        name, location = accepted["type"], accepted["location"]
        if location == "scalar":
            types.append(["scalar", name, accepted["isList"]])
        elif location == "inputObjectTypes":
            types.append(["object", name, accepted["isList"]])
        elif location == "enumTypes" and accepted.get("namespace") == "model":
            types.append(["enum", name, accepted["isList"]])
        elif location == "enumTypes" and "NullValue" in name:
            types.append(["null", name, False])
    return [bool(entry.get("isParameterizable")), types]
