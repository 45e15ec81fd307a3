"""The vector of a question, in any query: embed_text, embed_image and CALL sidecar.embed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import errors

from tests.fix_postgres import Connect, Connection
from tests.fix_sidecar import AnsweringSidecar, hash_vector

AWKWARD = {
    "quotes": "it's a \"red\" bicycle''",
    "dollars": "$$ $1 $body$ cost $5",
    "percents": "100% %s %L %% 50%I",
    "backslashes": "C:\\new\\table \\' \\\\",
    "newlines": "a\nb\r\nc\td",
    "emoji": "👩‍🚀 on a 🚲, שלום, e\u0301",
    "comments": "-- no comment /* none */; drop table x",
    "braces": '{"a", NULL, b}',
    "the word null": "NULL",
    "blanks": "   ",
    "10 kB": "köln " * 2000,
}


def one(connection: Connection, query: str, parameters: Sequence[Any] | None = None) -> Any:
    """The only value of the only row."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def numbers(vector: str) -> Any:
    """The numbers of a vector as SQL prints it."""
    return pytest.approx([float(number) for number in vector.strip("[]").split(",")], abs=1e-6)


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD.keys())
def test_every_text_gets_its_own_vector_by_both_ways(
    connect: Connect, answering_sidecar: AnsweringSidecar, text: str
) -> None:
    connection = connect()
    called = one(connection, "call sidecar.embed(%s, null)", [text])
    assert hash_vector(text).tolist() == numbers(called)
    connection.execute("truncate sidecar.vector_cache")
    asked = one(connection, "select sidecar.embed_text(%s)", [text])
    assert asked == called
    assert answering_sidecar.asked == [text, text]


def test_an_image_gets_its_vector_by_both_ways(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    image = bytes(range(256)) * 50
    called = one(connection, "call sidecar.embed(%b, null)", [image])
    connection.execute("truncate sidecar.vector_cache")
    asked = one(connection, "select sidecar.embed_image(%s)", [image])
    assert hash_vector(image).tolist() == numbers(called)
    assert asked == called
    assert answering_sidecar.asked == [image, image]


def test_a_literal_needs_no_cast(connect: Connect, answering_sidecar: AnsweringSidecar) -> None:
    connection = connect()
    called = one(connection, "call sidecar.embed('a red bicycle', NULL)")
    connection.execute("call sidecar.embed('a red bicycle', NULL, timeout => '2s')")
    connection.execute("call sidecar.embed('a red bicycle', NULL, '2s')")
    asked = one(connection, "select sidecar.embed_text('a red bicycle')")
    assert asked == called
    assert answering_sidecar.asked == ["a red bicycle"]


@pytest.mark.parametrize(
    "question",
    [
        "select sidecar.embed_text(%s::text[])::text[]",
        "call sidecar.embed_many(%s::text[], null)",
    ],
)
def test_an_array_keeps_order_duplicates_and_nulls_and_sends_only_what_is_not_known(
    connect: Connect, answering_sidecar: AnsweringSidecar, question: str
) -> None:
    connection = connect()
    connection.execute("call sidecar.embed('known', null)")
    texts = ["new", None, "known", 'a "quoted", {one}', "new"]
    reply = one(connection, question, [texts])
    vectors = reply if isinstance(reply, list) else elements(connection, reply)
    assert [vector is None for vector in vectors] == [text is None for text in texts]
    for text, vector in zip(texts, vectors, strict=True):
        assert vector is None or hash_vector(text).tolist() == numbers(vector)
    assert answering_sidecar.asked == ["known", "new", 'a "quoted", {one}']


def elements(connection: Connection, array: str) -> list[str | None]:
    return list(one(connection, "select %s::text::text[]", [array]))


def test_null_in_null_out_and_an_empty_array_asks_nobody(connect: Connect) -> None:
    connection = connect()
    row = connection.execute(
        "select sidecar.embed_text(null::text), sidecar.embed_text(null::text[]),"
        " sidecar.embed_image(null), sidecar.embed_text('{}'::text[])::text,"
        " sidecar.embed_text(array[null]::text[])::text"
    ).fetchone()
    assert row == (None, None, None, "{}", "{NULL}")
    assert connection.execute("call sidecar.embed(null::text, null)").fetchone() == (None,)
    assert connection.execute("call sidecar.embed(null::bytea, null)").fetchone() == (None,)
    assert connection.execute("call sidecar.embed_many('{}', null)").fetchone() == ("{}",)


@pytest.mark.parametrize(
    "begin",
    [
        "begin read only",
        "begin isolation level repeatable read",
        "begin isolation level repeatable read read only",
        "begin isolation level serializable read only deferrable",
    ],
)
def test_embed_text_answers_in_every_transaction(
    connect: Connect, answering_sidecar: AnsweringSidecar, begin: str
) -> None:
    connection = connect()
    connection.execute(begin)
    for text in ("first", "second", "first"):
        vector = one(connection, "select sidecar.embed_text(%s)", [text])
        assert hash_vector(text).tolist() == numbers(vector)
    connection.execute("commit")
    assert answering_sidecar.asked == ["first", "second"]


def test_call_answers_when_transactions_are_repeatable_read_by_default(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute("set default_transaction_isolation = 'repeatable read'")
    vector = one(connection, "call sidecar.embed('x', null)")
    assert hash_vector("x").tolist() == numbers(vector)


def test_embed_text_sees_no_setting_of_its_caller(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    for setting in (
        "search_path = ''",
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "statement_timeout = '3s'",
        "default_transaction_read_only = on",
        "client_min_messages = 'debug1'",
        "intervalstyle = 'iso_8601'",
    ):
        connection.execute(f"set {setting}")
    connection.execute("select sidecar.embed_text(%s)", ["C:\\new 'x'"])
    connection.execute("select sidecar.embed_image(%s)", [b"\\x00\xff'"])
    assert answering_sidecar.asked == ["C:\\new 'x'", b"\\x00\xff'"]


def test_without_a_live_sidecar_every_way_fails_at_once_and_says_how_to_start_one(
    connect: Connect,
) -> None:
    connection = connect()
    start = time.monotonic()
    for question in (
        "select sidecar.embed_text('a')",
        "select sidecar.embed_text(array['a', 'b'])",
        "select sidecar.embed_image('a'::bytea)",
        "call sidecar.embed('a', null)",
        "call sidecar.embed('a'::bytea, null)",
        "call sidecar.embed_many(array['a'], null)",
    ):
        with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
            connection.execute(question)
        assert "sidecar run" in (raised.value.diag.message_hint or "")
    assert time.monotonic() - start < 2.0
    assert connection.execute("select count(*) from sidecar.request").fetchone() == (0,)


def test_a_sidecar_whose_connection_is_gone_counts_as_dead_before_its_heartbeat_is_old(
    connect: Connect,
) -> None:
    connection = connect()
    connection.execute("insert into sidecar.model (name, width, serving) values ('m', 768, true)")
    connection.execute(
        "insert into sidecar.worker (id, host, pid, backend_pid, device, model, version)"
        " values (gen_random_uuid(), 'h', 1, 2147483000, 'cpu', 'm', '0')"
    )
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        connection.execute("call sidecar.embed('a', null)")


def test_what_was_asked_before_needs_no_sidecar(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    asked = connection.execute("select sidecar.embed_text('a')").fetchone()
    answering_sidecar.stop()
    assert connection.execute("select sidecar.embed_text('a')").fetchone() == asked
    assert connection.execute("call sidecar.embed('a', null)").fetchone() == asked
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        connection.execute("select sidecar.embed_text('b')")


@pytest.mark.parametrize(
    "question", ["select sidecar.embed_text('a')", "call sidecar.embed('a', null)"]
)
def test_a_sidecar_that_is_too_slow_is_query_canceled_within_the_timeout(
    connect: Connect, answering_sidecar: AnsweringSidecar, question: str
) -> None:
    connection = connect()
    connection.execute("set sidecar.request_timeout = '300ms'")
    answering_sidecar.delay = 1.0
    start = time.monotonic()
    with pytest.raises(errors.QueryCanceled) as raised:
        connection.execute(question)
    assert 0.3 <= time.monotonic() - start < 0.9
    assert "sidecar.request_timeout" in (raised.value.diag.message_hint or "")
    assert connection.execute("select count(*) from sidecar.request").fetchone() == (0,)


def test_the_timeout_of_a_call_wins_over_the_setting(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute("set sidecar.request_timeout = '50ms'")
    answering_sidecar.delay = 0.2
    connection.execute("call sidecar.embed('a', null, '10s')")


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ("select sidecar.embed_text('')", "text_empty"),
        ("call sidecar.embed('', null)", "text_empty"),
        ("select sidecar.embed_text(array['fine', ''])", "text_empty"),
        ("select sidecar.embed_image('no picture'::bytea)", "not_an_image"),
        ("call sidecar.embed('no picture'::bytea, null)", "not_an_image"),
    ],
)
def test_a_question_at_fault_is_an_error_with_code_and_hint_and_nothing_else_suffers(
    connect: Connect, answering_sidecar: AnsweringSidecar, question: str, code: str
) -> None:
    connection = connect()
    with pytest.raises(errors.InvalidParameterValue) as raised:
        connection.execute(question)
    assert raised.value.diag.message_primary is not None
    assert raised.value.diag.message_primary.startswith(f"{code}: ")
    assert raised.value.diag.message_hint
    connection.execute("select sidecar.embed_text('fine')")
    assert connection.execute("select count(*) from sidecar.request").fetchone() == (0,)


def test_no_message_tells_what_was_asked(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute("set sidecar.request_timeout = '100ms'")
    answering_sidecar.delay = 0.5
    with pytest.raises(errors.QueryCanceled) as raised:
        connection.execute("select sidecar.embed_text(%s)", ["my secret"])
    told = raised.value.diag
    for part in (told.message_primary, told.message_detail, told.message_hint, told.context):
        assert "secret" not in (part or "")


def test_call_in_a_transaction_block_that_has_written_says_what_to_use(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute("create table t ()")
    connection.execute("begin")
    connection.execute("insert into t default values")
    with pytest.raises(errors.ActiveSqlTransaction) as raised:
        connection.execute("call sidecar.embed('a', null)")
    connection.execute("rollback")
    assert "embed_text" in (raised.value.diag.message_hint or "")
    with pytest.raises(errors.InvalidTransactionTermination), connection.transaction():
        connection.execute("call sidecar.embed('a', null)")
    assert connection.execute("select count(*) from sidecar.request").fetchone() == (0,)


def test_call_in_a_read_only_transaction_says_what_to_use(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute("set default_transaction_read_only = on")
    with pytest.raises(errors.ReadOnlySqlTransaction) as raised:
        connection.execute("call sidecar.embed('a', null)")
    assert "embed_text" in (raised.value.diag.message_hint or "")


def test_a_call_that_waits_holds_neither_snapshot_nor_transaction(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    asking, looking = connect(), connect()
    answering_sidecar.delay = 0.5
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(asking.execute, "call sidecar.embed('a', null)")
        time.sleep(0.25)
        held = one(
            looking,
            "select count(*) from pg_stat_activity where pid = %s and backend_xid is not null",
            [asking.info.backend_pid],
        )
        answer.result()
    assert held == 0


def test_a_broken_loopback_connection_is_opened_again(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection, killer = connect(), connect()
    for text in ("a", "b", "c"):
        connection.execute("select sidecar.embed_text(%s)", [text])
        killed = one(
            killer,
            "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity"
            " where datname = current_database() and application_name = 'sidecar loopback'",
        )
        assert killed == 1
    assert answering_sidecar.asked == ["a", "b", "c"]


def test_a_cancelled_question_leaves_a_session_that_can_ask(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    answering_sidecar.delay = 0.4
    connection.execute("set statement_timeout = '100ms'")
    with pytest.raises(errors.QueryCanceled):
        connection.execute("select sidecar.embed_text('a')")
    connection.execute("set statement_timeout = 0")
    answering_sidecar.delay = 0.0
    vector = one(connection, "select sidecar.embed_text('b')")
    assert hash_vector("b").tolist() == numbers(vector)


def test_twenty_callers_at_once_each_get_their_own_vector(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connections = [connect() for _ in range(20)]

    def ask(number: int) -> None:
        for turn in range(5):
            text = f"{number} {turn}"
            way = ("select sidecar.embed_text(%s)", "call sidecar.embed(%s, null)")[turn % 2]
            vector = one(connections[number], way, [text])
            assert hash_vector(text).tolist() == numbers(vector)

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(ask, range(20)))
    assert len(answering_sidecar.asked) == 100


def test_without_dblink_call_works_and_embed_text_says_what_is_missing(
    connect: Connect, database16: str
) -> None:
    connection = connect(database16)
    sidecar = AnsweringSidecar(database16)
    sidecar.start()
    try:
        vector = one(connection, "call sidecar.embed('a', null)")
        assert hash_vector("a").tolist() == numbers(vector)
        with pytest.raises(errors.FeatureNotSupported) as raised:
            connection.execute("select sidecar.embed_text('b')")
    finally:
        sidecar.stop()
    assert "dblink" in (raised.value.diag.message_primary or "")
    assert "CALL sidecar.embed" in (raised.value.diag.message_hint or "")


def test_a_loopback_that_cannot_connect_says_where_to_mend_it(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute("alter server sidecar_loopback options (add host '/nowhere')")
    with pytest.raises(errors.SqlclientUnableToEstablishSqlconnection) as raised:
        connection.execute("select sidecar.embed_text('a')")
    assert "sidecar_loopback" in (raised.value.diag.message_hint or "")
    connection.execute("alter server sidecar_loopback options (drop host)")
    connection.execute("select sidecar.embed_text('a')")
