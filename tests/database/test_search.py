"""search, similar and classify: the nearest rows, with the caller's rights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.fix_postgres import Connect
from tests.fix_shop import Shop, vector_text
from tests.fix_sidecar import AnsweringSidecar, hash_vector


def ids(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> list[Any]:
    return [row[0] for row in connection.execute(query, parameters).fetchall()]


def test_search_by_text_image_and_vector_finds_the_nearest_first(
    shop: Shop, answering_sidecar: AnsweringSidecar
) -> None:
    connection = shop(20)
    connection.execute(
        "update products set photo_embedding = %s where id = 9", [vector_text("a red bicycle")]
    )
    row = connection.execute(
        "select (item).id, (item).name, distance"
        " from sidecar.search(NULL::products, 'a red bicycle', k => 3)"
    ).fetchall()
    assert len(row) == 3
    assert row[0][:2] == (9, "name 9")
    assert row[0][2] == pytest.approx(0, abs=1e-6)
    assert [distance for _, _, distance in row] == sorted(distance for _, _, distance in row)
    image = "select (item).id from sidecar.search(NULL::products, %b::bytea, k => 1)"
    assert ids(connection, image, b"picture 5") == [5]
    vector = "select (item).id from sidecar.search(NULL::products, %s::public.vector, k => 1)"
    assert ids(connection, vector, vector_text(b"picture 6")) == [6]
    assert ids(connection, "select item from sidecar.search(NULL::products, null::text)") == []


def test_search_defaults_to_ten_and_k_is_checked(shop: Shop) -> None:
    connection = shop(15)
    question = vector_text(b"picture 1")
    query = "select (item).id from sidecar.search(NULL::products, %s::public.vector)"
    assert len(ids(connection, query, question)) == 10
    with pytest.raises(errors.InvalidParameterValue):
        ids(connection, query[:-1] + ", 0)", question)


def test_search_uses_the_hnsw_index_and_returns_more_than_ef_search(shop: Shop) -> None:
    connection = shop(400, "hnsw")
    connection.execute("set enable_seqscan = off")
    question = vector_text(b"picture 3")
    query = "select (item).id from sidecar.search(NULL::products, %s::public.vector, k => %s)"
    connection.execute("select pg_stat_reset()")
    found = ids(connection, query, question, 150)
    assert found[0] == 3
    assert len(found) == 150
    connection.execute("select pg_stat_force_next_flush()")
    assert connection.execute(
        "select idx_scan from pg_stat_user_indexes where indexrelname like '%%embedding%%'", []
    ).fetchone() == (1,)
    assert connection.execute("show hnsw.ef_search").fetchone() == ("40",)
    assert connection.execute("show hnsw.iterative_scan").fetchone() == ("off",)


def test_similar_leaves_out_the_row_itself(shop: Shop) -> None:
    connection = shop(6)
    connection.execute(
        "update products set photo_embedding = (select photo_embedding from products where id = 2)"
        " where id = 4"
    )
    query = "select (item).id from sidecar.similar(NULL::products, key => %s, k => %s)"
    assert ids(connection, query, "[2]", 1) == [4]
    assert sorted(ids(connection, query, "[2]", 10)) == [1, 3, 4, 5, 6]


def test_similar_says_what_is_wrong_with_a_key(shop: Shop) -> None:
    connection = shop(3)
    connection.execute("update products set photo_embedding = null where id = 3")
    query = "select (item).id from sidecar.similar(NULL::products, %s)"
    with pytest.raises(errors.NoDataFound):
        ids(connection, query, "[99]")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
        ids(connection, query, "[3]")
    assert "sidecar.explain" in (raised.value.diag.message_hint or "")
    for wrong in ("[1, 2]", "7", "{}"):
        with pytest.raises(errors.InvalidParameterValue) as refused:
            ids(connection, query, wrong)
        assert "(id)" in (refused.value.diag.message_hint or "")


def test_search_and_similar_work_on_partitions_composite_keys_and_quoted_names(
    connect: Connect,
) -> None:
    connection = connect()
    connection.execute('create schema "My Shop"')
    connection.execute(
        'create table "My Shop"."Order" ("Région" text, day date, "the text" text,'
        ' primary key ("Région", day)) partition by list ("Région")'
    )
    connection.execute(
        """create table "My Shop"."EU" partition of "My Shop"."Order" for values in ('eu')"""
    )
    connection.execute('create table "My Shop".rest partition of "My Shop"."Order" default')
    connection.execute(
        "select sidecar.attach(%s, 'the text', embedding => 'the \"vec\"', index => 'none')",
        ['"My Shop"."Order"'],
    )
    for region, day, text in [
        ("eu", "2024-01-01", "a"),
        ("eu", "2024-01-02", "b"),
        ('us "x"', "2024-01-01", "c"),
    ]:
        connection.execute(
            'insert into "My Shop"."Order" values (%s, %s, %s, %s)',
            [region, day, text, vector_text(text)],
        )
    found = ids(
        connection,
        'select (item)."the text"'
        ' from sidecar.search(NULL::"My Shop"."Order", %s::public.vector, k => 2)',
        vector_text("c"),
    )
    assert found[0] == "c"
    similar = ids(
        connection,
        'select (item)."the text" from sidecar.similar(NULL::"My Shop"."Order", %s)',
        '["us \\"x\\"", "2024-01-01"]',
    )
    assert sorted(similar) == ["a", "b"]
    connection.execute('alter table "My Shop"."Order" rename column "the ""vec""" to v')
    one_part = ids(
        connection,
        """select (item)."the text" from sidecar.search(NULL::"My Shop"."EU", %s::public.vector)""",
        vector_text("c"),
    )
    assert sorted(one_part) == ["a", "b"]


def test_what_is_not_attached_or_ambiguous_says_the_next_step(shop: Shop) -> None:
    connection = shop(1)
    connection.execute("create table other (id int primary key)")
    question = "null::public.vector"
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
        connection.execute(f"select sidecar.search(NULL::other, {question})")
    assert "sidecar.attach('public.other'" in (raised.value.diag.message_hint or "")
    with pytest.raises(errors.DatatypeMismatch) as mistyped:
        connection.execute(f"select sidecar.search(1, {question})")
    assert "NULL::products" in (mistyped.value.diag.message_hint or "")
    connection.execute("select sidecar.attach('products', 'name')")
    with pytest.raises(errors.AmbiguousColumn) as ambiguous:
        connection.execute(f"select sidecar.search(NULL::products, {question})")
    assert "name, photo" in (ambiguous.value.diag.message_primary or "")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as unknown:
        connection.execute(
            f"select sidecar.search(NULL::products, {question}, source_column => 'id')"
        )
    assert "name, photo" in (unknown.value.diag.message_hint or "")
    connection.execute(
        f"select sidecar.search(NULL::products, {question}, source_column => 'photo')"
    )


def test_a_question_to_vectors_of_another_model_is_refused(
    shop: Shop, answering_sidecar: AnsweringSidecar
) -> None:
    connection = shop(1)
    connection.execute("update sidecar.attachment set model = 'older'")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
        connection.execute("select sidecar.search(NULL::products, 'a')")
    assert "reembed" in (raised.value.diag.message_hint or "")
    assert answering_sidecar.asked == []


def test_search_shows_only_rows_that_the_caller_may_see(
    shop: Shop, database: str, role: Callable[..., str], connect: Connect
) -> None:
    connection = shop(5)
    reader = connect(role(database))
    name = reader.info.user
    query = "select (item).id from sidecar.search(NULL::products, %s::public.vector)"
    question = vector_text(b"picture 1")
    connection.execute(f"grant sidecar_user to {name}")
    with pytest.raises(errors.InsufficientPrivilege):
        ids(reader, query, question)
    connection.execute(f"grant select on products to {name}")
    connection.execute("alter table products enable row level security")
    connection.execute(f"create policy p on products to {name} using (id > 3)")
    assert sorted(ids(reader, query, question)) == [4, 5]


def test_classify_is_the_softmax_of_a_hundredfold_cosine(
    shop: Shop, answering_sidecar: AnsweringSidecar
) -> None:
    connection = shop(3)
    labels = ["bicycle", "100% car", "it's a 'dog'", None]
    rows = connection.execute(
        "select label, score, similarity from sidecar.classify(%s::public.vector, %s::text[],"
        " template => 'a photo of a %%s')",
        [vector_text("a photo of a bicycle"), labels],
    ).fetchall()
    assert rows[0][0] == "bicycle"
    assert rows[0][1] == pytest.approx(1.0, abs=1e-3)
    assert rows[0][2] == pytest.approx(1.0, abs=1e-6)
    assert sum(row[1] for row in rows) == pytest.approx(1.0)
    assert {row[0] for row in rows} == {"bicycle", "100% car", "it's a 'dog'"}
    expected = float(hash_vector("a photo of a bicycle") @ hash_vector("a photo of a 100% car"))
    assert {row[0]: row[2] for row in rows}["100% car"] == pytest.approx(expected, abs=1e-6)


def test_classify_over_rows_asks_once(shop: Shop, answering_sidecar: AnsweringSidecar) -> None:
    connection = shop(50)
    rows = connection.execute(
        "select p.id, c.label from products p,"
        " sidecar.classify(p.photo_embedding, array['a', 'b', 'c']) c"
    ).fetchall()
    assert len(rows) == 150
    assert answering_sidecar.asked == ["a", "b", "c"]
    assert connection.execute(
        "select count(*) from sidecar.classify(null, array['a', 'b'])"
    ).fetchone() == (2,)


def test_a_template_without_a_place_for_the_label_is_refused(shop: Shop) -> None:
    connection = shop(1)
    with pytest.raises(errors.InvalidParameterValue):
        connection.execute(
            "select * from sidecar.classify(null::public.vector, array['a'], 'a photo')"
        )
