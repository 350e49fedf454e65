"""The constant for all namespaces. It must be passed explicitly, so that a forgotten namespace does not mean all."""

from enum import Enum, auto
from typing import Final


class AllNamespaces(Enum):
    """The type of `ALL_NAMESPACES`, for annotations: `-> str | AllNamespaces`."""

    ALL_NAMESPACES = auto()


ALL_NAMESPACES: Final = AllNamespaces.ALL_NAMESPACES
"""Every namespace that the module serves: what a `tenant` dependency returns for a caller who is confined to none."""
