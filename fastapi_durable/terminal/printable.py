"""Texts of others, for a terminal."""


def printable(text: str) -> str:
    """`text` without what would steer the terminal: of control characters, only line breaks are left."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)
