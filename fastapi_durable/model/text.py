"""Texts of objects of other code. They are always available and storable.

Recording a failure must not fail itself: otherwise the failure is never recorded, and its step repeats without end.
"""

from collections.abc import Callable


def text_of(value: object, form: Callable[[object], str] = str) -> str:
    """Return the text of any object. If `str` fails, return what is known of the object."""
    try:
        # Convert it to a plain string, because `__str__` may return an object of a subclass.
        return "".join((form(value),))
    except BaseException:
        return f"{class_name(value)} (its text cannot be read)"


def shown(value: object, limit: int = 80) -> str:
    """The beginning of an object's representation, for a message that refuses it.

    Even a plain integer has none if it has too many digits: `repr` raises a ValueError then.
    """
    return text_of(value, repr)[:limit]


def class_name(value: object) -> str:
    """Return the name of an object's class, even if its metaclass raises."""
    try:
        return str(type(value).__name__)
    except BaseException:
        return "an object"


def storable_text(text: str, limit: int) -> str:
    """Return `text` in a form that every database can store: without NUL and lone surrogates, cut to `limit` characters
    and a mark.
    """
    # Shorten it first, so that only the kept part is processed.
    text = _shortened(text, limit)
    return _shortened(text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode(), limit)


_CUT = "\n...\n"


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit + len(_CUT):
        return text
    return f"{text[: limit // 2]}{_CUT}{text[-(limit // 2) :]}"


def fits_index(text: object, limit: int) -> bool:
    """Return whether every database can index a text: printable, not empty, and at most `limit` bytes in UTF-8.

    An index row of PostgreSQL holds 2,704 bytes, and some rows hold four texts: a namespace or a run's id, and texts
    of the caller. Printable text contains neither NUL nor half of a surrogate pair.
    """
    return isinstance(text, str) and text.isprintable() and 0 < len(text) <= limit and len(text.encode()) <= limit


def index_rule(limit: int) -> str:
    """Return the rule of `fits_index` as text for messages."""
    return f"printable text of 1-{limit} bytes in UTF-8"
