"""The word for every namespace, which somebody has to say: a namespace that was forgotten must not stand for all."""

from enum import Enum, auto
from typing import Final


class AllNamespaces(Enum):
    """The type of `ALL_NAMESPACES`, for annotations: `-> str | AllNamespaces`."""

    ALL_NAMESPACES = auto()


ALL_NAMESPACES: Final = AllNamespaces.ALL_NAMESPACES
"""Every namespace that the module serves: what a `tenant` dependency returns for a caller who is confined to none."""
