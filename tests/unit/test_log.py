"""One line an event, for people or for machines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from sidecar import log


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    root = logging.getLogger("sidecar")
    before = (root.handlers[:], root.level, root.propagate)
    yield logging.getLogger("sidecar.test")
    root.handlers[:], root.propagate = before[0], before[2]
    root.setLevel(before[1])


def test_json_where_nobody_looks(logger: logging.Logger) -> None:
    stream = io.StringIO()
    log.set_up(None, "info", stream)
    logger.warning("row_failed", extra={"key": '["ä", 1]', "error": "not_an_image"})
    logger.debug("unseen")
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "event": "row_failed",
        "key": '["ä", 1]',
        "error": "not_an_image",
    }


def test_words_on_a_terminal(logger: logging.Logger) -> None:
    stream = io.StringIO()
    log.set_up("human", "info", stream)
    logger.info("ready", extra={"rows": 3})
    assert stream.getvalue().split(" ", 1)[1] == "info ready rows=3\n"
