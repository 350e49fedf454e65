"""Wake-ups to send to other processes: several in one message, each sent once."""

import json
import logging
import uuid
from typing import Final

from fastapi_durable.wakeups.base import Topic, Wakeup

_log = logging.getLogger("fastapi_durable")

_MOST_WAKEUPS: Final = 10_000
_MOST_BYTES: Final = 7000
"""Maximum size of a message in bytes. PostgreSQL accepts less than 8000 bytes in one notification, a datagram more."""


class Outbox:
    """The wake-ups that one participant has not sent yet, in order, each once.

    Attributes:
        name: Marks the participant's own messages.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._unsent: dict[Wakeup, None] = {}

    def __bool__(self) -> bool:
        return bool(self._unsent)

    def add(self, wakeup: Wakeup) -> None:
        """Keep a wake-up until it is sent. Beyond ten thousand it is dropped, and the others find out by polling."""
        if len(self._unsent) < _MOST_WAKEUPS:
            self._unsent[wakeup] = None

    def next_message(self) -> tuple[list[Wakeup], str]:
        """Return the wake-ups that fit into one message, and the message. They stay until `sent` is called."""
        wakeups: list[Wakeup] = []
        size = 0
        for wakeup in self._unsent:
            size += len(json.dumps([wakeup.topic, wakeup.run_id]).encode()) + 2
            if wakeups and size > _MOST_BYTES:
                break
            wakeups.append(wakeup)
        content = [[str(wakeup.topic), wakeup.run_id] for wakeup in wakeups]
        return wakeups, json.dumps({"from": self.name, "wakeups": content}, separators=(",", ":"))

    def sent(self, wakeups: list[Wakeup]) -> None:
        """Forget wake-ups that were sent."""
        for wakeup in wakeups:
            del self._unsent[wakeup]


def wakeups_in(message: str, *, except_from: str) -> list[Wakeup]:
    """Return the wake-ups of a message, without those of `except_from` and without topics of a newer version."""
    try:
        content = json.loads(message)
        if content["from"] == except_from:
            return []
        known = [(topic, run_id) for topic, run_id in content["wakeups"] if topic in set(Topic)]
        return [Wakeup(Topic(topic), str(run_id)) for topic, run_id in known]
    except (ValueError, TypeError, KeyError, RecursionError):
        _log.warning("ignored a notification that fastapi_durable did not write: %.100r", message)
        return []
