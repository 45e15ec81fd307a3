"""Batches: questions first, then lanes in order, and an idle model never waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import torch

from sidecar import batch as batches
from sidecar.batch import LONGEST_BATCH, Batcher
from sidecar.records import Call, Claim, Modality, Origin, Prepared, Question

TENSOR = torch.zeros(1)


def row(number: int, lane: int = 1, modality: Modality = "text") -> Prepared:
    return Prepared(Claim(1, f"[{number}]", 1, 1, lane, 1, modality), modality, TENSOR)


def question(number: int) -> Prepared:
    return Prepared(Question(number, 0), "text", TENSOR)


def call() -> Prepared:
    return Prepared(Call(asyncio.get_running_loop().create_future()), "text", TENSOR)


def grown(limits: dict[Modality, int], window: float = 0.0) -> Batcher:
    """A batcher that has learnt that the model is fast."""
    batcher = Batcher(limits, window)
    for modality in limits:
        for _ in range(10):
            batcher.learn([row(0, modality=modality)], 0.0)
    return batcher


def origins(batch: list[Prepared]) -> list[Origin]:
    return [item.origin for item in batch]


async def test_questions_overtake_rows_and_lanes_keep_their_order() -> None:
    batcher = grown({"text": 3})
    backfill, retry, fresh = row(1, 3), row(2, 2), row(3, 1)
    batcher.put([backfill, retry, fresh])
    batcher.put([question(9)])
    assert origins(await batcher.next()) == origins([question(9), fresh, retry])
    assert origins(await batcher.next()) == origins([backfill])


async def test_an_idle_model_gets_what_is_there_at_once() -> None:
    batcher = grown({"text": 512})
    waiting = asyncio.ensure_future(batcher.next())
    await asyncio.sleep(0)
    batcher.put([row(1)])
    assert len(await waiting) == 1


async def test_pictures_and_texts_of_one_lane_take_turns_and_never_share_a_batch() -> None:
    batcher = grown({"image": 2, "text": 2})
    batcher.put([row(number, modality="image") for number in range(4)])
    batcher.put([row(number) for number in range(4)])
    batches = [await batcher.next() for _ in range(4)]
    assert [{item.modality for item in batch} for batch in batches] == [
        {"text"},
        {"image"},
        {"text"},
        {"image"},
    ]


async def test_a_slow_model_gets_small_batches_so_that_a_question_need_not_wait() -> None:
    batcher = grown({"image": 64})
    batch = [row(number, modality="image") for number in range(64)]
    batcher.learn(batch, 128 * LONGEST_BATCH)
    batcher.put(batch)
    assert len(await batcher.next()) == 1
    batcher.learn(batch[:1], LONGEST_BATCH / 8)
    assert len(await batcher.next()) == 2  # grows by doubling, to 8 in the end


async def test_a_batch_is_as_large_as_its_views() -> None:
    batcher = grown({"image": 8})
    crops = [replace(row(number, modality="image"), others=(TENSOR,) * 4) for number in range(3)]
    batcher.put(crops)
    assert [len(await batcher.next()) for _ in range(3)] == [1, 1, 1]
    many = replace(crops[0], others=(TENSOR,) * 20)
    batcher.put([many, row(9, modality="image")])
    assert [len(await batcher.next()) for _ in range(2)] == [1, 1]  # alone, for it fits in none


async def test_close_throws_away_what_waits_and_ends_the_model() -> None:
    batcher = grown({"text": 4})
    batcher.put([row(1)])
    batcher.close()
    batcher.put([row(2)])
    assert await batcher.next() == []


async def moments() -> None:
    """Lets whatever can go on without a timer go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_idle_model_never_waits_for_company() -> None:
    batcher = grown({"text": 512}, window=3600)
    for waits in (row(1), question(2), call(), question(3)):
        waiting = asyncio.ensure_future(batcher.next())
        await moments()
        batcher.put([waits])
        await moments()
        assert origins(await asyncio.wait_for(waiting, 60)) == [waits.origin]


async def test_calls_and_questions_share_the_best_lane() -> None:
    batcher = grown({"text": 512})
    first, second = call(), question(2)
    batcher.put([row(1), first])
    batcher.put([second])
    assert origins(await batcher.next()) == [first.origin, second.origin, row(1).origin]


async def test_rows_are_kept_back_within_the_window_after_a_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "LONGEST_BATCH", 3600)
    batcher = grown({"text": 512, "image": 64}, window=3600)
    batcher.put([row(0)])
    await batcher.next()
    batcher.put([question(1)])
    await batcher.next()
    waiting = asyncio.ensure_future(batcher.next())
    batcher.put([row(2, modality="image")])
    await moments()
    assert not waiting.done()
    batcher.put([question(3)])
    assert origins(await waiting) == [Question(3, 0)]


async def test_rows_get_their_batch_when_the_window_has_passed() -> None:
    batcher = grown({"text": 512}, window=0.02)
    batcher.put([row(0)])
    await batcher.next()
    batcher.put([question(1)])
    await batcher.next()
    batcher.put([row(2)])
    assert origins(await batcher.next()) == [row(2).origin]


async def test_questions_without_end_cannot_keep_rows_back_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "LONGEST_BATCH", 0.05)
    batcher = grown({"text": 1}, window=3600)
    batcher.put([row(0)])
    await batcher.next()
    batcher.put([question(1)])
    await batcher.next()
    batcher.put([row(2)])
    assert origins(await batcher.next()) == [row(2).origin]


async def test_a_call_that_nobody_waits_for_takes_no_place() -> None:
    batcher = grown({"text": 2})
    gone, here = call(), call()
    assert isinstance(gone.origin, Call)
    gone.origin.answer.cancel()
    batcher.put([gone])
    waiting = asyncio.ensure_future(batcher.next())
    await moments()
    batcher.put([here])
    assert origins(await waiting) == [here.origin]


async def test_a_call_that_nobody_waits_for_leaves_room_for_others_views() -> None:
    batcher = grown({"text": 4})
    gone, here = (replace(call(), others=(TENSOR,) * 3) for _ in range(2))
    assert isinstance(gone.origin, Call)
    gone.origin.answer.cancel()
    batcher.put([gone, here, row(1)])
    assert origins(await batcher.next()) == [here.origin]
    assert origins(await batcher.next()) == [row(1).origin]


async def test_a_batch_that_the_device_refused_is_halved_by_its_views() -> None:
    batcher = grown({"image": 16})
    batch = [replace(row(number, modality="image"), others=(TENSOR,) * 3) for number in range(4)]
    batcher.shrink(batch)
    batcher.put(batch)
    assert [len(await batcher.next()) for _ in range(2)] == [2, 2]
