"""What `import fastapi_durable` offers."""

import ast
from pathlib import Path

import fastapi_durable


def test_the_list_of_public_names_is_sorted_and_each_name_is_there() -> None:
    assert list(fastapi_durable.__all__) == sorted(set(fastapi_durable.__all__))
    for name in fastapi_durable.__all__:
        assert getattr(fastapi_durable, name) is not None


def test_everything_that_the_package_imports_for_its_users_is_in_the_list() -> None:
    tree = ast.parse(Path(fastapi_durable.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(fastapi_durable.__all__)


def test_every_error_of_the_library_is_public() -> None:
    from fastapi_durable import errors

    declared = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert declared <= set(fastapi_durable.__all__)
