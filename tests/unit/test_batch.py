"""Batches: questions first, then lanes in order, and an idle model never waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import torch

from sidecar.batch import LONGEST_BATCH, Batcher
from sidecar.records import Claim, Modality, Origin, Prepared, Question

TENSOR = torch.zeros(1)


def row(number: int, lane: int = 1, modality: Modality = "text") -> Prepared:
    return Prepared(Claim(1, f"[{number}]", 1, 1, lane, 1, modality), modality, TENSOR)


def question(number: int) -> Prepared:
    return Prepared(Question(number, 0), "text", TENSOR)


def grown(limits: dict[Modality, int]) -> Batcher:
    """A batcher that has learnt that the model is fast."""
    batcher = Batcher(limits)
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
