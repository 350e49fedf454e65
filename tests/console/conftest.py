"""The stores of the applications that these tests start."""

from tests.support.new_stores import new_stores

__all__ = ["new_stores"]
