"""A table: every primitive in every situation."""

import pytest

# The situations judge for the tests; a failure shows what differs.
pytest.register_assert_rewrite("tests.primitives.situations", "tests.primitives.dialogue")
