"""One line per event: an event name and its details, readable on a terminal, JSON elsewhere.

Never a picture's bytes, nor a text or a question.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(log_format: str | None, level: str, stream: TextIO | None = None) -> None:
    """Sends the sidecar's events to `stream` (stderr); None: human on a terminal, else JSON."""
    stream = stream or sys.stderr
    human = (log_format or ("human" if stream.isatty() else "json")) == "human"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HumanLines() if human else JsonLines())
    logger = logging.getLogger("sidecar")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def details(record: logging.LogRecord) -> dict[str, Any]:
    """What the event was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


class JsonLines(logging.Formatter):
    """{"time": ..., "level": ..., "event": ..., details}."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **details(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class HumanLines(logging.Formatter):
    """12:30:01 warning row_failed attachment=1 key=[42] error=not_an_image."""

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        words = [clock, record.levelname.lower(), record.getMessage()]
        words += [f"{name}={value}" for name, value in details(record).items()]
        if record.exc_info:
            words.append("\n" + self.formatException(record.exc_info))
        return " ".join(words)
