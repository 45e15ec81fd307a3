"""Whatever applications and sidecars do, in whatever order: a Hypothesis state machine.

HYPOTHESIS_PROFILE=long pytest -s tests/faults/test_state_machine.py searches at random, for long.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.fix_stepwise import MAX_ATTEMPTS, MOODY, POISON, SESSIONS, Ground, is_right

QUICK = settings(
    max_examples=80,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=1500, stateful_step_count=100, derandomize=False)
PROFILE, PATIENCE = (LONG, 3600) if os.environ.get("HYPOTHESIS_PROFILE") == "long" else (QUICK, 300)

COLUMNS = ("body", "title")
TRANSACTIONS = (
    *("read committed", "read committed", "repeatable read"),
    *("commit", "commit", "rollback", "savepoint", "rollback to savepoint"),
)
CHORES = ("crash", "crash", "stop", "give back", "renew", "settle rest", "tidy")
ADMINISTRATION = (
    *("retry", "retry", "reembed", "reembed", "pause", "resume", "resume", "attach keep"),
    *("attach clear", "detach", "detach drop", "truncate commit", "truncate rollback"),
)
EVERYTHING = 20
SIDECARS = 3

keys = st.integers(1, 4)
columns = st.sampled_from(COLUMNS)
contents = st.sampled_from(["one", "two", "three", "four", "five", None, " ", POISON, MOODY])
sessions = st.integers(0, SESSIONS - 1)
sidecars = st.integers(0, SIDECARS - 1)
numbers = st.integers(0, 5)


class Machine(RuleBasedStateMachine):
    """Applications in several sessions, sidecars in single steps, and the administrator."""

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.ground.clean()
        self.ground.examples += 1
        self.sidecars = [self.ground.sidecar() for _ in range(SIDECARS)]

    def step(self, call: Coroutine[Any, Any, object]) -> None:
        self.ground.step(call)

    def run(self, number: int, query: str, *values: object) -> None:
        session = self.ground.sessions[number]
        others = any(s.isolation for s in self.ground.sessions if s is not session)
        session.run(others, query, *values)

    # What applications do

    @rule(number=sessions, what=st.sampled_from(TRANSACTIONS))
    def transaction(self, number: int, what: str) -> None:
        session = self.ground.sessions[number]
        match what:
            case "savepoint":
                session.savepoint()
            case "rollback to savepoint":
                session.roll_back_to_savepoint()
            case "commit" | "rollback":
                session.end(what)
            case isolation:
                session.begin(isolation)

    @rule(number=sessions, key=keys, column=columns, content=contents)
    def insert(self, number: int, key: int, column: str, content: str | None) -> None:
        self.run(number, f"insert into note (id, {column}) values (%s, %s)", key, content)

    @rule(number=sessions, some=st.lists(keys, unique=True), body=contents, title=contents)
    def upsert_many(
        self, number: int, some: list[int], body: str | None, title: str | None
    ) -> None:
        self.run(
            number,
            "insert into note select key, %s, %s from unnest(%s::int[]) as k (key)"
            " on conflict (id) do update set body = excluded.body, title = excluded.title",
            *(body, title, some),
        )

    @rule(number=sessions, key=keys, column=columns, content=contents)
    def update(self, number: int, key: int, column: str, content: str | None) -> None:
        self.run(number, f"update note set {column} = %s where id = %s", content, key)

    @rule(number=sidecars, stages=st.integers(0, 3), who=sessions, column=columns, content=contents)
    def update_in_flight(
        self, number: int, stages: int, who: int, column: str, content: str | None
    ) -> None:
        """All rows change while a sidecar has them in hand."""
        self.take(number, stages)
        self.run(who, f"update note set {column} = %s", content)

    @rule(number=sessions, key=keys)
    def update_to_the_same(self, number: int, key: int) -> None:
        self.run(number, "update note set body = body, price = price + 1 where id = %s", key)

    @rule(number=sessions, key=keys, other=keys)
    def change_key(self, number: int, key: int, other: int) -> None:
        self.run(number, "update note set id = %s where id = %s", other, key)

    @rule(number=sessions, some=st.lists(keys, min_size=1, unique=True))
    def delete(self, number: int, some: list[int]) -> None:
        self.run(number, "delete from note where id = any(%s)", some)

    @rule(number=sessions, key=keys, strength=st.sampled_from(["update", "share", "key share"]))
    def hold(self, number: int, key: int, strength: str) -> None:
        self.ground.sessions[number].begin()
        self.run(number, f"select from note where id = %s for {strength}", key)

    # What administrators do

    @initialize(on_change=st.sampled_from(["keep", "clear"]), rows=st.integers(0, 4))
    def begin_with_rows(self, on_change: str, rows: int) -> None:
        self.run(0, "insert into note select g, 'row ' || g from generate_series(1, %s) g", rows)
        for column in COLUMNS:
            self.attach(0, column, on_change)

    def truncate(self, number: int, then: int, how: str) -> None:
        session = self.ground.sessions[number]
        session.begin()
        self.run(number, "truncate note")
        if session.isolation is not None:
            self.run(number, "insert into note values (%s, 'after', 'truncate')", then)
        session.end(how)

    def attach(self, number: int, column: str, on_change: str) -> None:
        self.run(
            number,
            "select sidecar.attach('note', %s, index => 'none', on_change => %s)",
            *(column, on_change),
        )

    @rule(number=sessions, column=columns, key=keys, what=st.sampled_from(ADMINISTRATION))
    def administrate(self, number: int, column: str, key: int, what: str) -> None:
        """What locks the table is a transaction of its own: sidecars wait for it too."""
        if what in ("pause", "resume", "reembed", "retry"):
            self.run(number, f"select sidecar.{what}('note', %s)", column)
            return
        self.ground.sessions[number].end("commit")
        match what.split():
            case ["attach", on_change]:
                self.attach(number, column, on_change)
            case ["detach", *drop]:
                query = "select sidecar.detach('note', %s, drop_column => %s)"
                self.run(number, query, column, drop == ["drop"])
            case ["truncate", "commit" | "rollback" as how]:
                self.truncate(number, key, how)

    # What sidecars do

    @rule(number=sidecars, most=st.integers(1, 4))
    def claim(self, number: int, most: int) -> None:
        if self.sidecars[number].has_room(most):
            self.step(self.sidecars[number].claim(most))

    @rule(number=sidecars, batch=numbers, good_mood=st.booleans())
    def advance(self, number: int, batch: int, good_mood: bool) -> None:
        self.ground.encoder.good_mood = good_mood
        if self.sidecars[number].batches:
            self.step(self.sidecars[number].advance(batch))

    @rule(number=sidecars, stages=st.integers(1, 4))
    def take(self, number: int, stages: int) -> None:
        """Takes all that is due up to some stage, with what was there before."""
        sidecar = self.sidecars[number]
        self.ground.encoder.good_mood = True
        if sidecar.has_room(EVERYTHING):
            self.step(sidecar.claim(EVERYTHING))
        for _ in range(stages):
            for _ in range(len(sidecar.batches)):
                self.step(sidecar.advance(0))

    @rule(number=sidecars, stages=st.integers(0, 3), other=sidecars, who=sessions, content=contents)
    def overtake(self, number: int, stages: int, other: int, who: int, content: str | None) -> None:
        """Leases run out, another sidecar does the rows, and then they change."""
        self.take(number, stages)
        self.time_passes(leases=True)
        self.take(other, stages=4)
        self.run(who, "update note set body = %s, title = %s", content, content)

    @rule(number=sidecars, batch=numbers, what=st.sampled_from(CHORES))
    def chore(self, number: int, batch: int, what: str) -> None:
        sidecar = self.sidecars[number]
        match what:
            case "crash":
                self.sidecars[number] = self.ground.sidecar()
            case "stop":
                self.step(sidecar.queue.release_all())
                self.sidecars[number] = self.ground.sidecar()
            case "give back" if sidecar.batches:
                self.step(sidecar.give_back(batch))
            case "renew":
                self.step(sidecar.queue.renew())
            case "settle rest":
                self.step(sidecar.queue.settle_rest())
            case "tidy":
                self.step(sidecar.tidy())

    @rule(number=sidecars)
    def feed(self, number: int) -> None:
        self.step(self.sidecars[number].feed())

    # Time

    @rule(leases=st.booleans())
    def time_passes(self, leases: bool) -> None:
        """What waits is due, and leases have run out."""
        self.ground.observer.execute(
            "with free as materialized ("
            "  select ctid as row from sidecar.pending for update skip locked"
            " ) update sidecar.pending p set due_at = least(due_at, clock_timestamp()),"
            "  lease_until = case when %s then '-infinity' else lease_until end"
            " from free where p.ctid = free.row",
            [leases],
        )

    # What must hold

    @invariant()
    def what_is_not_queued_is_right(self) -> None:
        """Of what is committed, and past the backfill."""
        self.ground.steps += 1
        observer = self.ground.observer
        for column, embedding, number in observer.execute(
            "select source_column::text, embedding_column::text, id from sidecar.attachment"
            " where backfill = 'done'"
        ).fetchall():
            for key, content, vector in observer.execute(
                f"select t.id, t.{column}, t.{embedding}::real[] from note t"
                " where not exists (select from sidecar.pending p"
                "  where p.attachment = %(id)s and p.key = jsonb_build_array(t.id))"
                " and not exists (select from sidecar.failure f"
                "  where f.attachment = %(id)s and f.key = jsonb_build_array(t.id))".encode(),
                {"id": number},
            ).fetchall():
                assert is_right(content, vector), f"{column} of row {key}, {content!r}"

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self._everybody_ends()
            self._nothing_is_left()

    def _everybody_ends(self) -> None:
        for session in self.ground.sessions:
            session.end("commit")
        for column in COLUMNS:
            self.run(0, "select sidecar.resume('note', %s)", column)
        self.sidecars = [self.ground.sidecar()]
        for _ in range(4 * MAX_ATTEMPTS):
            self.time_passes(leases=True)
            self.step(self.sidecars[0].feed())
            self.chore(0, 0, "tidy")
            self.take(0, stages=4)
            if self._quiet():
                return

    def _quiet(self) -> bool:
        return self.ground.observer.execute(
            "select not exists (select from sidecar.pending)"
            " and not exists (select from sidecar.attachment where backfill <> 'done')"
        ).fetchone() == (True,)

    def _nothing_is_left(self) -> None:
        assert self.ground.observer.execute("select * from sidecar.pending").fetchall() == []
        assert self._quiet(), "a backfill never ends"
        self.what_is_not_queued_is_right()
        failed = self.ground.observer.execute("select distinct error from sidecar.failure")
        assert {row[0] for row in failed} <= {"text_empty", "model_failed", "crashed"}


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_every_vector_is_that_of_its_current_content(ground: Ground) -> None:
    Machine.ground = ground
    run_state_machine_as_test(Machine, settings=PROFILE)
    sys.stdout.write(f"{ground.examples:,} examples, {ground.steps:,} steps\n")
