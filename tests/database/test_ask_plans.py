"""How often a query asks: once, whatever its plan, and never for another text than its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fix_postgres import Connection
from tests.fix_shop import Shop, vector_text
from tests.fix_sidecar import AnsweringSidecar


def plan(connection: Connection, query: str, parameters: list[Any]) -> str:
    rows = connection.execute(f"explain (verbose) {query}", parameters).fetchall()
    return "\n".join(row[0] for row in rows)


NEAREST = (
    "select id from products"
    " order by photo_embedding operator(public.<=>) sidecar.embed_text('a red bicycle') limit 10"
)


@pytest.fixture
def many(shop: Shop) -> Connection:
    """5,000 rows around the vector of 'a red bicycle', which row 7 alone has."""
    connection = shop(71)
    connection.execute(
        "insert into products"
        " select i, 'name ' || i, null, a.photo_embedding + b.photo_embedding + %s::vector"
        " from generate_series(72, 5000) i"
        " join products a on a.id = i %% 71 + 1"
        " join products b on b.id = i / 71 + 1",
        [vector_text("a red bicycle")],
    )
    connection.execute(
        "update products set photo_embedding = %s where id = 7", [vector_text("a red bicycle")]
    )
    return connection


def test_order_by_embed_text_uses_the_hnsw_index_and_asks_once(
    many: Connection, answering_sidecar: AnsweringSidecar
) -> None:
    many.execute(
        "create index on products using hnsw (photo_embedding vector_cosine_ops)"
        " with (m = 8, ef_construction = 32)"
    )
    many.execute("analyze products")
    assert "Index Scan using products_photo_embedding_idx" in plan(many, NEAREST, [])
    answering_sidecar.asked.clear()
    many.execute("truncate sidecar.vector_cache")
    assert many.execute(NEAREST).fetchall()[0] == (7,)
    assert answering_sidecar.asked == ["a red bicycle"]


def test_a_sequential_scan_of_5000_rows_asks_once(
    many: Connection, answering_sidecar: AnsweringSidecar
) -> None:
    assert "Seq Scan" in plan(many, NEAREST, [])
    many.execute("truncate sidecar.vector_cache")
    answering_sidecar.asked.clear()
    assert many.execute(NEAREST).fetchall()[0] == (7,)
    assert answering_sidecar.asked == ["a red bicycle"]


def test_a_filter_asks_once(many: Connection, answering_sidecar: AnsweringSidecar) -> None:
    rows = many.execute(
        "select id from products"
        " where photo_embedding operator(public.<=>) sidecar.embed_text('a red bicycle') < 0.1"
        " and length(name) > 3"
    ).fetchall()
    assert rows == [(7,)]
    assert answering_sidecar.asked == ["a red bicycle"]


def test_a_prepared_statement_asks_once_at_each_execution_for_its_own_text(
    many: Connection, answering_sidecar: AnsweringSidecar
) -> None:
    query = (
        "select id, photo_embedding operator(public.<=>) sidecar.embed_text($1)"
        " from products order by 2 limit 1"
    )
    many.execute(f"prepare nearest(text) as {query}")
    texts = ["a red bicycle" if turn % 3 == 2 else f"text {turn}" for turn in range(12)]
    for text in texts:
        many.execute("truncate sidecar.vector_cache")
        row = many.execute("execute nearest(%s)".replace("%s", f"'{text}'")).fetchone()
        assert row is not None
        assert (row[0] == 7 and row[1] < 1e-6) == (text == "a red bicycle")
    assert answering_sidecar.asked == texts


def test_a_generic_plan_never_answers_with_another_texts_vector(
    many: Connection, answering_sidecar: AnsweringSidecar
) -> None:
    many.execute("set plan_cache_mode = force_generic_plan")
    many.execute("prepare vector_of(text) as select sidecar.embed_text($1)::text")
    for text in ("a", "b", "a", "c"):
        row = many.execute(f"execute vector_of('{text}')").fetchone()
        cached = many.execute(
            "select embedding::text from sidecar.vector_cache"
            " where digest = sha256(convert_to(%s, 'UTF8'))",
            [text],
        ).fetchone()
        assert row == cached
    assert answering_sidecar.asked == ["a", "b", "c"]
