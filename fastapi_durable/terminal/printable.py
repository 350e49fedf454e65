"""Makes texts of other code safe for a terminal."""


def printable(text: str) -> str:
    """Return `text` without control characters except line breaks, so that it cannot control the terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)
