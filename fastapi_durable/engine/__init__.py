"""The engine: drives runs through their turns. Its floors are listed in `tests/repository/import_rules.py`."""
