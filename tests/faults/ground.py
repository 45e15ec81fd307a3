"""Where faults strike: a table with an application, a question under way, and what must hold in the
end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import numpy as np
import psycopg

from tests.fix_live import text_vector, wait_until_quiet
from tests.fix_postgres import Connection

INSIDE = "inside_write"
SIGNALS = (
    "after_claim",
    "after_load",
    "before_model",
    "before_write",
    INSIDE,
    "after_write",
    "before_reply",
)

# Only the sidecar's statements are held or struck. `inside` holds its write with rows locked and
# written, before the commit; `code` makes its statements fail with that SQLSTATE.
SWITCHES = """
create schema fault;
create table fault.switch (inside boolean not null, code text);
insert into fault.switch values (false, null);
create sequence fault.held;
create sequence fault.raised;
create function fault.strike() returns trigger language plpgsql as $$
declare
  code text;
begin
  if current_setting('application_name') <> 'sidecar' then
    return null;
  end if;
  if tg_argv[0] = 'hold' and (select inside from fault.switch) then
    perform nextval('fault.held');
    while (select inside from fault.switch) loop
      perform pg_sleep(0.005);
    end loop;
  end if;
  code := (select s.code from fault.switch s);
  if code is not null then
    perform nextval('fault.raised');
    raise exception using errcode = code, message = 'a fault of the database';
  end if;
  return null;
end
$$;
create table note (id bigint primary key, body text, price integer);
select sidecar.attach('note', 'body', index => 'none');
create trigger strike after update of body_embedding on note
  for each statement execute function fault.strike('hold');
create trigger strike before update or delete on sidecar.pending
  for each statement execute function fault.strike('');
create trigger strike before update on sidecar.request
  for each statement execute function fault.strike('');
"""

# Rows of a cell, by number: 0 changes, 1 goes, 2 goes and comes back with other content, 3 changes
# in another column, 4 becomes NULL, 5 changes its key, the others stay.
ROWS = 8


class Gates(Protocol):
    """How a sidecar is held at a named signal: one in a thread, or one that is a process."""

    def hold(self, name: str) -> None: ...
    def wait(self, name: str) -> None: ...
    def let_go(self, name: str) -> None: ...


class Asking(threading.Thread):
    """A question that is on its way while the fault strikes."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__()
        self.text = text
        self.vector: Any = None
        self.error: psycopg.Error | None = None
        self._url = url
        self.start()

    def run(self) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                row = connection.execute(
                    "call sidecar.embed(%s, null, '25 s')", [self.text]
                ).fetchone()
                self.vector = row and row[0]
        except psycopg.Error as error:
            self.error = error


class Application(threading.Thread):
    """Statements that are made while the fault is there, each until it succeeds."""

    def __init__(self, url: str, statements: list[tuple[str, list[Any]]]) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._url = url
        self._statements = statements
        self.start()

    def run(self) -> None:
        try:
            for statement, values in self._statements:
                self._until_done(statement, values)
        except Exception as error:
            self.error = error

    def _until_done(self, statement: str, values: list[Any]) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                with psycopg.connect(self._url, autocommit=True) as connection:
                    connection.execute(statement.encode(), values)
                    return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class Ground:
    """One database with its table; shared by cells, so that what one leaves behind the next one
    finds."""

    def __init__(self, url: str, vector: Callable[[str], Any] = text_vector) -> None:
        self.url = url
        self.whole = True
        """Whether every cell so far ended well."""
        self._vector = vector
        self._numbers = count(1)
        self._held = 0
        self.connect().execute(SWITCHES.encode())

    def connect(self) -> Connection:
        """A new connection for looking; kept, and closed when a restart or the end takes it."""
        self.connection: Connection = psycopg.connect(self.url, autocommit=True)
        return self.connection

    def scalar(self, query: str) -> Any:
        row = self.connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def hold(self, gates: Gates, signal: str) -> None:
        """The sidecar will stop at the signal."""
        if signal == INSIDE:
            self._held = self._count("held")
            self.connection.execute("update fault.switch set inside = true")
        else:
            gates.hold(signal)

    def wait(self, gates: Gates, signal: str) -> None:
        """Returns when it stands there."""
        if signal == INSIDE:
            self.until(lambda: self._count("held") > self._held, "the write never began")
        else:
            gates.wait(signal)

    def let_go(self, gates: Gates, signal: str) -> None:
        if signal == INSIDE:
            self.connection.execute("update fault.switch set inside = false")
        else:
            gates.let_go(signal)

    def fail(self, code: str | None) -> int:
        """Makes the sidecar's statements fail with an SQLSTATE, or succeed again."""
        self.connection.execute("update fault.switch set code = %s", [code])
        return self._count("raised")

    def failed_since(self, raised: int) -> bool:
        return self._count("raised") > raised

    def _count(self, sequence: str) -> int:
        return int(
            self.scalar(
                f"select case when is_called then last_value else 0 end from fault.{sequence}"
            )
        )

    def begin(self) -> Cell:
        """Rows and a question that are on their way when the fault strikes."""
        self.whole = False
        self.until_served()
        return Cell(self, next(self._numbers))

    def until(self, call: Callable[[], bool], what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not call():
            assert time.monotonic() < deadline, what
            time.sleep(0.005)

    def until_served(self) -> None:
        """Returns when questions are taken: a sidecar lives, and its connection is there."""
        self.until(
            lambda: bool(self.scalar("select sidecar.serving_model() is not null")),
            "no sidecar came back",
        )

    def check(self) -> None:
        """Nothing is lost, nothing is stale, nothing is left."""
        wait_until_quiet(self.connection)
        rows = self.connection.execute(
            "select id, body, body_embedding::real[] from note"
        ).fetchall()
        for number, body, vector in rows:
            if body is None:
                assert vector is None, f"row {number} has a vector of what it was"
                continue
            assert vector is not None, f"row {number} is lost"
            np.testing.assert_allclose(
                np.float32(vector), self._vector(body), atol=1e-5, err_msg=f"row {number} is stale"
            )
        assert self.connection.execute("select * from sidecar.failure").fetchall() == []
        assert self.scalar("select count(*) from sidecar.pending") == 0
        self.connection.execute("delete from note")  # the next cell's rows are new ones

    def close(self) -> None:
        self.connection.close()


class Cell:
    """One signal times one fault."""

    def __init__(self, ground: Ground, number: int) -> None:
        self.ground = ground
        self.first = number * 100
        self._name = f"cell {number}"
        ground.connection.execute(
            "insert into note select %s + g, %s || ' row ' || g, 0 from generate_series(0, %s) g",
            [self.first, self._name, ROWS - 1],
        )
        self.asking = Asking(ground.url, f"{self._name} question")
        asked = "select exists (select from sidecar.request)"
        ground.until(
            lambda: bool(ground.scalar(asked)) or not self.asking.is_alive(), "it never asked"
        )

    def act(self) -> Application:
        """What the application does while the fault is there."""
        change = "update note set body = %s where id = %s"
        return Application(
            self.ground.url,
            [
                (change, [f"{self._name} changed", self.first]),
                ("delete from note where id = %s", [self.first + 1]),
                ("delete from note where id = %s", [self.first + 2]),
                (
                    "insert into note values (%s, %s, 0) on conflict do nothing",
                    [self.first + 2, f"{self._name} again"],
                ),
                ("update note set price = 1 where id = %s", [self.first + 3]),
                (change, [None, self.first + 4]),
                ("update note set id = %s where id = %s", [self.first + 50, self.first + 5]),
            ],
        )

    def end(self, application: Application, answered: bool = True) -> None:
        """All that must hold after the fault: no row is lost or stale, the question has its answer
        (or, where that could not be, a clear error), and the next row and question are served."""
        ground = self.ground
        application.join(40)
        assert not application.is_alive(), "the application is locked out"
        assert application.error is None, application.error
        ground.check()
        self.asking.join(40)
        self._check_answer(self.asking, answered)
        ground.connection.execute("insert into note values (%s, 'after', 0)", [self.first + 99])
        ground.until_served()
        after = Asking(ground.url, f"{self._name} asked again")
        ground.check()
        after.join(40)
        self._check_answer(after, True)
        ground.whole = True

    def _check_answer(self, asking: Asking, answered: bool) -> None:
        assert not asking.is_alive(), "the question hangs"
        if asking.vector is not None:
            vector = np.fromstring(asking.vector.strip("[]"), sep=",", dtype=np.float32)
            np.testing.assert_allclose(vector, self.ground._vector(asking.text), atol=1e-5)
            return
        assert asking.error is not None
        assert not answered, asking.error
        lost = isinstance(asking.error, psycopg.OperationalError) and asking.error.sqlstate is None
        # Shut down, crashed, withdrawn by a restart, or no sidecar that could: each says so.
        assert lost or asking.error.sqlstate in ("57P01", "57P02", "57P03", "57014"), asking.error
