"""Every primitive, and all of them in one workflow."""

from tests.primitives import dialogue, entities, family, operators, races, starting, waits, work
from tests.primitives.case import Case

CASES: list[Case] = [
    case for module in (work, races, waits, dialogue, family, entities, starting, operators) for case in module.CASES
]
