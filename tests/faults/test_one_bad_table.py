"""What is wrong with one table stays with it: the sidecar lives, and the others are served."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sidecar.records import Modality, Vectors
from sidecar.settings import Settings
from tests.database.test_attached_tables import NOTE, scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import HashEncoder, LiveSidecar, Start
from tests.fix_postgres import Connect


class WideEncoder(HashEncoder):
    """Vectors that are wider than pgvector's HNSW takes (2,000)."""

    width = 2100

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        vectors = super().encode(modality, tensors)
        return np.pad(vectors, ((0, 0), (0, self.width - vectors.shape[1])))


def test_a_key_that_does_not_fit_its_column(connect: Connect, live: Start) -> None:
    connection = connect()
    for table in (NOTE, NOTE.replace("note", "other")):
        connection.execute(table.encode())
    bad = scalar(connection, "select sidecar.attach('note', 'body')")
    connection.execute("select sidecar.attach('other', 'body')")
    connection.execute("""insert into sidecar.pending values (%s, '["no number"]')""", [bad])
    connection.execute(
        """update sidecar.attachment set backfill = 'missing', backfill_after = '["no number"]'"""
        " where id = %s",
        [bad],
    )
    live()
    connection.execute("insert into other values (1, 'one')")
    wait_for(connection, "select body_embedding is not null from other")
    connection.execute("insert into other values (2, 'two')")
    wait_for(connection, "select count(body_embedding) = 2 from other")
    assert assert_right(connection, "other") == 2
    assert scalar(connection, "select attempts from sidecar.pending") <= 1


def test_an_index_that_cannot_be_built(connect: Connect, database: str) -> None:
    connection = connect()
    connection.execute(NOTE.encode())
    connection.execute("insert into sidecar.model (name, width) values ('hash', 2100)")
    connection.execute("insert into note values (1, 'one')")
    connection.execute("select sidecar.attach('note', 'body', model => 'hash')")
    sidecar = LiveSidecar(database, Settings(), WideEncoder()).start()
    try:
        wait_for(connection, "select body_embedding is not null from note")
        connection.execute("select pg_sleep(3)")  # the index is tried every 2 s
        connection.execute("insert into note values (2, 'two')")
        wait_for(connection, "select count(body_embedding) = 2 from note")
    finally:
        sidecar.stop()
