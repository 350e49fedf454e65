"""The commands at a terminal: `migrate`, `db`, `validate` and `format`."""
