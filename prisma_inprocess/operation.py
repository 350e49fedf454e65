"""One call of a client method, and what becomes of it in the JSON protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from prisma_inprocess.compiler.input_graph import Output
from prisma_inprocess.package import GeneratedPackage
from prisma_inprocess.request import RequestBuilder, selection_of
from prisma_inprocess.row_request import RowRequestBuilder, ShapesDiffer

_ACTIONS: Final[Mapping[str, str]] = {
    "create": "createOne",
    "create_many": "createMany",
    "delete": "deleteOne",
    "delete_many": "deleteMany",
    "update": "updateOne",
    "update_many": "updateMany",
    "upsert": "upsertOne",
    "count": "aggregate",
    "group_by": "groupBy",
    "find_many": "findMany",
    "find_first": "findFirst",
    "find_first_or_raise": "findFirstOrThrow",
    "find_unique": "findUnique",
    "find_unique_or_raise": "findUniqueOrThrow",
}


_RELATIONS_KEPT: Final = 1024


class Operation(NamedTuple):
    """One call of a client method: what the client hands to its query builder."""

    method: str
    arguments: Mapping[str, Any]
    model: type[Any] | None = None
    root_selection: Sequence[str] | None = None


class OperationEncoder:
    """Encodes the operations of one generated package.

    Args:
        package: The package, which knows its models and what their arguments accept.
    """

    def __init__(self, package: GeneratedPackage) -> None:
        self._package = package
        self._scalars: WeakKeyDictionary[type[Any], dict[str, Any]] = WeakKeyDictionary()
        self._related_model = lru_cache(_RELATIONS_KEPT)(package.models.get_relational_model)

    def encode(self, operation: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
        """An operation in the JSON protocol, and the values of its placeholders."""
        root = self._root(operation)
        builder = RequestBuilder(self._package.graph, self._package.json_type, self._package.base64_type)
        arguments = dict(operation.arguments)
        include = arguments.pop("include", None)
        encoded = builder.arguments(arguments, root.arguments)
        if operation.root_selection is not None:
            selection = selection_of(operation.root_selection)
        else:
            selection = self._selection(operation.model, include, root.type, builder)
        request = {
            "modelName": _model_name(operation),
            "action": _ACTIONS[operation.method],
            "query": {"arguments": encoded, "selection": selection},
        }
        return request, builder.values

    def _root(self, operation: Operation) -> Output:
        return self._package.graph.root(_model_name(operation), _ACTIONS[operation.method])

    def _selection(self, model: Any, include: Any, type_name: str, builder: RequestBuilder) -> dict[str, Any]:
        """All scalar fields of a model, and the relations that are included."""
        scalars = self._scalars.get(model)
        if scalars is None:
            model.model_rebuild()  # one of a large schema is built only now
            scalars = self._scalars[model] = dict.fromkeys(self._package.models.get_default_fields(model), True)
        if not include:
            return scalars
        selection = dict(scalars)
        outputs = self._package.graph.output(type_name)
        for name, wanted in include.items():
            if wanted is False:
                continue
            if wanted is not True and not isinstance(wanted, Mapping):
                raise TypeError(f"Expected `bool` or `dict` include value but got {type(wanted)} instead.")
            related = self._related_model(current_model=model, field=name)
            output = outputs[name]
            arguments = {} if wanted is True else dict(wanted)
            nested = self._selection(related, arguments.pop("include", None), output.type, builder)
            entry: dict[str, Any] = {"selection": nested}
            encoded = builder.arguments(arguments, output.arguments)
            if encoded:
                entry["arguments"] = encoded
            selection[name] = entry
        return selection

    def rows(self, operation: Operation) -> tuple[dict[str, Any], dict[str, list[Any]]] | None:
        """A `create_many` of at least one row: the request for one row, and for each placeholder its values in all
        rows; None if the rows have different shapes.
        """
        package, data = self._package, operation.arguments["data"]
        without_rows = Operation(operation.method, {**operation.arguments, "data": []}, operation.model, ("count",))
        request, values = self.encode(without_rows)
        builder = RowRequestBuilder(package.graph, package.json_type, package.base64_type, share=False)
        try:
            row = builder.row(data, self._root(operation).arguments["data"])
        except ShapesDiffer:
            return None
        if values:
            return None  # another argument has a placeholder, which no row knows
        request["query"]["arguments"]["data"] = [row]
        return request, builder.values


def _model_name(operation: Operation) -> str:
    return str(operation.model.__prisma_model__) if operation.model is not None else ""
