"""The sections of a docstring: `Args:`, `Attributes:` and their entries."""

import inspect
import re

_SECTION = re.compile(r"^(?P<title>[A-Z]\w+):$")
_ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")


def summary(value: object) -> str:
    """Return the first paragraph of an object's docstring, in one line."""
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def entries(value: object, *titles: str) -> dict[str, str]:
    """Return what a docstring says of each parameter or attribute.

    Args:
        value: The object that has the docstring.
        titles: The sections to read, such as "Args".
    """
    found: dict[str, str] = {}
    inside = False
    names: list[str] = []
    for line in (inspect.getdoc(value) or "").splitlines():
        if section := _SECTION.match(line):
            inside, names = section["title"] in titles, []
        elif inside and line.startswith("    "):
            entry = None if line.startswith("     ") else _ENTRY.match(line.strip())
            if entry is not None:
                names = entry["names"].split(", ")
                found |= dict.fromkeys(names, entry["text"])
            else:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found
