"""Where claims go on, and when they look at the whole queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sidecar.queue import EVERY_ATTACHMENT, Marks
from sidecar.records import Claim

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NONE: tuple[list[int], list[int], list[datetime]] = ([], [], [])


def claims(lane: int, count: int = 4) -> tuple[list[Claim], list[datetime]]:
    return (
        [Claim(7, f"[{n}]", 1, 1, lane, 1, "text") for n in range(count)],
        [NOON + timedelta(seconds=n) for n in range(count)],
    )


def test_the_next_claim_goes_on_where_the_last_one_ended() -> None:
    marks = Marks()
    assert marks.columns() == NONE
    marks.note(*claims(1), asked=4, took=0.001, all_lanes=True)
    assert marks.columns() == ([7], [1], [NOON + timedelta(seconds=3)])


def test_lanes_that_were_empty_are_not_walked_again() -> None:
    marks = Marks()
    marks.columns()
    marks.note(*claims(3), asked=4, took=0.001, all_lanes=True)
    attachments, lanes, times = marks.columns()
    assert list(zip(attachments, lanes, strict=True)) == [
        (7, 3),
        (EVERY_ATTACHMENT, 1),
        (EVERY_ATTACHMENT, 2),
    ]
    assert set(times) == {NOON + timedelta(seconds=3)}


def test_lanes_of_a_modality_that_was_not_asked_for_are_not_marked() -> None:
    marks = Marks()
    marks.columns()
    marks.note(*claims(3), asked=4, took=0.001, all_lanes=False)
    assert marks.columns()[:2] == ([7], [3])


def test_after_a_claim_that_found_little_the_whole_queue_is_looked_at() -> None:
    marks = Marks()
    marks.columns()
    marks.note(*claims(1), asked=100, took=0.001, all_lanes=True)
    assert marks.columns() == NONE


def test_unless_that_look_takes_long() -> None:
    marks = Marks()
    marks.columns()
    marks.note(*claims(1), asked=100, took=1.0, all_lanes=True)
    assert marks.columns()[:2] == ([7], [1])
    marks.note([], [], asked=100, took=0.001, all_lanes=True)
    assert marks.columns()[:2] == ([7], [1])
