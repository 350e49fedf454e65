"""The conformance suite of state stores, for a store of your own. It needs pytest: the extra `testing` brings it.

docs/how-to/test-a-store.md shows how it is used.
"""

import pytest

# Before the tests are imported, so that a failure shows the values that were compared.
pytest.register_assert_rewrite("fastapi_durable.store.contract.suite")

from fastapi_durable.store.contract.suite import StateStoreContract

__all__ = ["StateStoreContract"]
