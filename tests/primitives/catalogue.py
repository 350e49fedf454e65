"""Every primitive, and nearly all of them in one workflow."""

from tests.primitives import combined, dialogue, entities, family, operators, races, starting, waits, work
from tests.primitives.case import Case

_MODULES = (work, races, waits, dialogue, family, entities, starting, operators, combined)

CASES: list[Case] = [case for module in _MODULES for case in module.CASES]
