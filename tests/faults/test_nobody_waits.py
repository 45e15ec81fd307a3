"""A sidecar waits for no row that an application's open transaction holds: it would keep other
rows locked meanwhile, and the two could deadlock.
"""

from __future__ import annotations

from tests.fix_stepwise import Ground


def fill(ground: Ground, rows: int) -> None:
    ground.clean()
    ground.observer.execute(
        "insert into note select g, 'row ' || g from generate_series(1, %s) g", [rows]
    )
    ground.observer.execute("select sidecar.attach('note', 'body', index => 'none')")


def count(ground: Ground, table: str) -> int:
    row = ground.observer.execute(f"select count(*) from {table}".encode()).fetchone()
    assert row is not None
    number: int = row[0]
    return number


def test_a_backfill_ends_before_a_row_that_a_transaction_has_queued(ground: Ground) -> None:
    fill(ground, 5)
    session, sidecar = ground.sessions[0], ground.sidecar()
    session.begin()
    session.run(False, "update note set body = 'changed' where id = 4")
    ground.step(sidecar.feed())
    assert count(ground, "sidecar.pending") == 3
    session.end("rollback")
    ground.step(sidecar.feed())
    assert count(ground, "sidecar.pending") == 5
    assert count(ground, "sidecar.attachment where backfill = 'done'") == 1


def test_a_row_that_crashes_have_spent_and_a_transaction_changes(ground: Ground) -> None:
    fill(ground, 2)
    session, sidecar = ground.sessions[0], ground.sidecar()
    ground.step(sidecar.feed())
    ground.observer.execute("update sidecar.pending set attempts = 9, lease_until = '-infinity'")
    session.begin()
    session.run(False, "update note set body = 'changed' where id = 1")
    ground.step(sidecar.tidy())
    session.end("commit")
    assert count(ground, """sidecar.failure where key = '[2]'""") == 1
    assert count(ground, """sidecar.pending where key = '[1]' and attempts = 0""") == 1


def test_a_write_while_a_transaction_retries_the_row(ground: Ground) -> None:
    fill(ground, 1)
    session, sidecar = ground.sessions[0], ground.sidecar()
    ground.step(sidecar.feed())
    ground.step(sidecar.claim(1))
    ground.observer.execute(
        "insert into sidecar.failure select attachment, key, 'text_empty', '', 1"
        " from sidecar.pending"
    )
    for _ in range(3):
        ground.step(sidecar.advance(0))
    session.begin()
    session.run(False, "select sidecar.retry('note', 'body')")
    ground.step(sidecar.advance(0))
    assert count(ground, "note where body_embedding is not null") == 0
    session.end("commit")
    ground.step(sidecar.queue.settle_rest())
    ground.observer.execute("update sidecar.pending set due_at = now()")
    ground.step(sidecar.claim(1))
    for _ in range(4):
        ground.step(sidecar.advance(0))
    assert count(ground, "note where body_embedding is not null") == 1
    assert count(ground, "sidecar.pending") + count(ground, "sidecar.failure") == 0
