"""Mapping the rows of a relation where they are read, and not under each of their parents.

A plan maps its whole result at its end. There the rows of a relation are spread over their parents, so they are mapped
in as many small lists as there are parents. A join can map them all at once instead, because nothing after the join
looks at them.
"""

from __future__ import annotations

from typing import Any, Final

Node = dict[str, Any]

# Nodes that hand on what another node gives, and at most count it; with the argument that holds the other node.
_HANDING_ON: Final[dict[str, str | None]] = {
    "let": "expr",
    "validate": "expr",
    "unique": None,
    "required": None,
    "reverse": None,
}


def map_early(expression: Node, structure: Node, enums: Node) -> tuple[Node, Node]:
    """Let the joins of an expression map the rows of their relations.

    Args:
        expression: What a plan reads.
        structure: What each of its rows is mapped to.
        enums: The names of the values of enums.

    Returns:
        The expression, whose joins have a `dataMap` for each relation that they map. The structure, in which the type
        of such a relation is `mapped`.
    """
    kind, arguments = expression["type"], expression["args"]
    if structure["type"] != "object":
        return expression, structure
    if kind == "join":
        return _join_early(arguments, structure, enums)
    if kind not in _HANDING_ON:
        return expression, structure
    place = _HANDING_ON[kind]
    inner, mapped = map_early(arguments if place is None else arguments[place], structure, enums)
    return {"type": kind, "args": inner if place is None else {**arguments, place: inner}}, mapped


def _join_early(join: Node, structure: Node, enums: Node) -> tuple[Node, Node]:
    fields = dict(structure["fields"])
    names = {node["serializedName"]: name for name, node in fields.items() if node["type"] == "object"}
    children = []
    for child in join["children"]:
        name = names.get(child["parentField"])
        if name is None:
            children.append(child)
            continue
        expression, mapped = map_early(child["child"], fields[name], enums)
        fields[name] = {"type": "mapped", "dbName": child["parentField"]}
        children.append({**child, "child": expression, "dataMap": {"structure": mapped, "enums": enums}})
    return {"type": "join", "args": {**join, "children": children}}, {**structure, "fields": fields}
