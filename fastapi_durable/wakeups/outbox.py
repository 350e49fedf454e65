"""Words as they travel: several in one message, each said once."""

import json
import logging
import uuid
from typing import Final

from fastapi_durable.wakeups.base import Topic, Wakeup

_log = logging.getLogger("fastapi_durable")

_MOST_WORDS: Final = 10_000
_MOST_BYTES: Final = 7000
"""PostgreSQL takes less than 8000 bytes in one notification; a datagram takes more."""


class Outbox:
    """What one participant has still to say, in order, each word once.

    Attributes:
        name: Tells the participant's own messages from those of the others.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._unsaid: dict[Wakeup, None] = {}

    def __bool__(self) -> bool:
        return bool(self._unsaid)

    def add(self, word: Wakeup) -> None:
        """Keep a word to be said; beyond ten thousand it is dropped, and the others find out by polling."""
        if len(self._unsaid) < _MOST_WORDS:
            self._unsaid[word] = None

    def next_message(self) -> tuple[list[Wakeup], str]:
        """The words that fit into one message, and the message. They stay until they are `said`."""
        words: list[Wakeup] = []
        size = 0
        for word in self._unsaid:
            size += len(json.dumps([word.topic, word.run_id]).encode()) + 2
            if words and size > _MOST_BYTES:
                break
            words.append(word)
        said = [[str(word.topic), word.run_id] for word in words]
        return words, json.dumps({"from": self.name, "words": said}, separators=(",", ":"))

    def said(self, words: list[Wakeup]) -> None:
        """Forget words that were sent."""
        for word in words:
            del self._unsaid[word]


def wakeups_in(message: str, *, besides: str) -> list[Wakeup]:
    """The words of a message; one's own are left out, and so is what a newer version may say."""
    try:
        content = json.loads(message)
        if content["from"] == besides:
            return []
        known = [(topic, run_id) for topic, run_id in content["words"] if topic in set(Topic)]
        return [Wakeup(Topic(topic), str(run_id)) for topic, run_id in known]
    except (ValueError, TypeError, KeyError):
        _log.warning("a wake-up for fastapi_durable is not one of ours: %.100r", message)
        return []
