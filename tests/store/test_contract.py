"""The suite that is shipped for other people's stores."""

from fastapi_durable.store.contract import StateStoreContract


def test_no_test_of_the_suite_hides_another_of_its_name() -> None:
    """The suite is many classes in one: of two tests of one name, one would never run."""
    names = [name for group in StateStoreContract.__bases__ for name in vars(group) if name.startswith("test_")]
    assert len(names) > 150
    assert sorted(names) == sorted(set(names))
