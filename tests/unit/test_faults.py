"""The row at fault is found by halving, and only that row is charged."""

from __future__ import annotations

import pytest

from sidecar.errors import RowFault, ServiceFault
from sidecar.faults import LONGEST_BACKOFF, halved, judge
from sidecar.records import Claim


def claim(attempts: int) -> Claim:
    return Claim(1, "[1]", 1, attempts, 1, 1, "text")


async def test_one_bad_item_of_64_is_found_in_few_calls_and_the_rest_succeed() -> None:
    calls: list[int] = []

    async def call(items: list[int]) -> list[int]:
        calls.append(len(items))
        if 41 in items:
            raise ValueError("41 is bad")
        return [item * 2 for item in items]

    outcomes = await halved(call, list(range(64)), "model_failed", ())
    faults = [(items, result) for items, result in outcomes if isinstance(result, RowFault)]
    assert [items for items, _ in faults] == [[41]]
    assert str(faults[0][1]) == "41 is bad"
    done = [result for _, part in outcomes if not isinstance(part, RowFault) for result in part]
    assert done == [item * 2 for item in range(64) if item != 41]
    assert len(calls) == 13  # one call, then two at each of six halvings


async def test_the_services_fault_is_charged_to_nobody() -> None:
    async def call(items: list[int]) -> None:
        raise ServiceFault("out of memory")

    with pytest.raises(ServiceFault):
        await halved(call, [1, 2], "model_failed", ())


def test_what_can_only_fail_again_is_given_up_at_once() -> None:
    verdict = judge(claim(1), RowFault("not_an_image", "no picture"), 5)
    assert (verdict.outcome, verdict.error, verdict.message) == (
        "give_up",
        "not_an_image",
        "no picture",
    )


def test_what_may_pass_backs_off_ever_longer_and_is_given_up_in_the_end() -> None:
    fault = RowFault("write_refused", "a trigger said no", permanent=False)
    delays = [judge(claim(attempts), fault, 5).delay for attempts in range(1, 5)]
    for attempt, delay in enumerate(delays):
        assert 2 * 2**attempt <= delay <= 2.5 * 2**attempt
    assert judge(claim(5), fault, 5).outcome == "give_up"
    assert judge(claim(99), fault, 100).delay <= 1.25 * LONGEST_BACKOFF
