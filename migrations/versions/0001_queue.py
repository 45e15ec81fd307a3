"""The queue: attachments, pending rows, failures, requests, workers.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
create table sidecar.model (
  id smallint generated always as identity primary key,
  name text not null unique,
  width integer not null check (width > 0),
  serving boolean not null default false,
  created_at timestamptz not null default now()
);
comment on table sidecar.model is
  'The models that vectors here were made with; serving: the deployment''s model, which answers embed_text';
create unique index model_serving on sidecar.model (serving) where serving;

create table sidecar.attachment (
  id integer generated always as identity primary key,
  target regclass not null,
  target_name text not null,
  source_column name not null,
  source_attnum smallint not null,
  embedding_column name not null,
  embedding_table regclass not null,
  embedding_attnum smallint not null,
  key_attnums smallint[] not null,
  origin oid[] not null,
  modality text not null check (modality in ('image', 'text')),
  source text not null check (source in ('inline', 'url', 'file', 'large_object')),
  storage text not null check (storage in ('column', 'table')),
  index text not null check (index in ('hnsw', 'none')),
  on_change text not null check (on_change in ('keep', 'clear')),
  model text,
  paused boolean not null default false,
  backfill text not null check (backfill in ('missing', 'all', 'done')),
  backfill_after jsonb,
  swept boolean not null default true,
  created_at timestamptz not null default now(),
  unique (target, source_attnum) deferrable
);
comment on table sidecar.attachment is 'One source column of one table that is kept embedded';
comment on column sidecar.attachment.target_name is
  'The table''s name when it was attached: another table that has it now has taken its place';
comment on column sidecar.attachment.key_attnums is
  'The columns of its primary key when it was attached: keys in the queue are of these';
comment on column sidecar.attachment.embedding_table is
  'Where embedding_attnum is: the target itself, or with storage => ''table'' the companion table';
comment on column sidecar.attachment.model is
  'The model that makes its vectors; NULL until the first sidecar takes it up';
comment on column sidecar.attachment.origin is
  'sidecar.origin(target) when the column numbers were noted; another one after pg_restore, which renumbers columns';
comment on column sidecar.attachment.swept is
  'Whether the sweep queues rows that have no vector; not where attach was told to leave them alone';
comment on column sidecar.attachment.backfill is
  'What the sidecar still has to queue: rows with no vector, all rows, or nothing';
comment on column sidecar.attachment.backfill_after is
  'The last key that the backfill queued; NULL: it starts at the first';

create table sidecar.pending (
  attachment integer not null,
  key jsonb not null,
  generation bigint not null default 1,
  attempts smallint not null default 0,
  lane smallint not null default 1,
  due_at timestamptz not null default clock_timestamp(),
  queued_at timestamptz not null default clock_timestamp(),
  lease_token bigint,
  lease_until timestamptz,
  primary key (attachment, key)
) with (
  fillfactor = 45,
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_cost_delay = 0
);
-- No CHECK here: PostgreSQL parses one anew in each statement that inserts, 3 us of the application's time.
-- Half of each page stays free, so that the claim of every row on it is a HOT update: 15 us a row instead of 24 at 70.
comment on table sidecar.pending is 'Source rows that must be (re-)embedded, at most one entry per source row';
comment on column sidecar.pending.generation is 'Changes of the source row while it is pending';
comment on column sidecar.pending.lane is '1 fresh, 2 retry, 3 backfill; requests are served before all of them';
-- No lease column is in this index, so that a claim stays a HOT update.
create index pending_claim on sidecar.pending (attachment, lane, due_at);
create sequence sidecar.lease_token;

create table sidecar.failure (
  attachment integer not null,
  key jsonb not null,
  error text not null,
  message text not null,
  attempts smallint not null,
  failed_at timestamptz not null default now(),
  primary key (attachment, key)
);
comment on table sidecar.failure is 'Source rows given up on; sidecar.retry() queues them again';

create table sidecar.sweep (
  attachment integer primary key,
  phase text not null default 'idle' check (phase in ('idle', 'failures', 'rows')),
  after jsonb,
  due_at timestamptz not null,
  began_at timestamptz,
  found bigint not null default 0,
  triggers text,
  writes bigint
) with (fillfactor = 50);
comment on table sidecar.sweep is 'How far the search for what no trigger saw has come in each attached table';
comment on column sidecar.sweep.after is 'The last key that was looked at; NULL: the phase starts at the first';
comment on column sidecar.sweep.triggers is
  'The state of the table''s triggers and partitions when the last pass began: another one starts a pass at once';
comment on column sidecar.sweep.writes is
  'What PostgreSQL had counted of writes to the table when the last pass began; the same count needs no pass';

create unlogged table sidecar.request (
  id bigint generated always as identity primary key,
  model text not null,
  texts text[],
  image bytea,
  asked_at timestamptz not null default clock_timestamp(),
  taken_until timestamptz,
  reply vector[],
  error text,
  message text
);
comment on table sidecar.request is 'Synchronous questions from SQL, each deleted when it is answered';

create table sidecar.vector_cache (
  model text not null,
  modality text not null,
  digest bytea not null,
  embedding vector not null,
  created_at timestamptz not null default now(),
  primary key (model, modality, digest)
);
comment on table sidecar.vector_cache is
  'Answers to earlier questions by SHA-256 of the question; logged, so that a standby has it too';

create table sidecar.worker (
  id uuid primary key,
  host text not null,
  pid integer not null,
  role name not null default current_user,
  backend_pid integer,
  device text not null,
  model text not null,
  version text not null,
  items_per_second real not null default 0,
  started_at timestamptz not null default now(),
  last_heartbeat timestamptz not null default now()
) with (fillfactor = 50);
comment on table sidecar.worker is 'Sidecars; one whose heartbeat is older than 10 s is dead';

create sequence sidecar.bell;
comment on sequence sidecar.bell is
  'Until when (Unix time) a sidecar sleeps and wants a notification for queued rows. A sequence, for triggers'
  ' look at it without a query of their own';

create table sidecar.progress (
  attachment integer not null,
  minute timestamptz not null,
  embedded bigint not null default 0,
  failed bigint not null default 0,
  truncated bigint not null default 0,
  primary key (attachment, minute)
) with (fillfactor = 50);
comment on table sidecar.progress is 'What was done in each minute of the last hours, for rate and ETA';
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("select sidecar.detach_all()")
    op.execute(
        "drop table sidecar.model, sidecar.attachment, sidecar.pending, sidecar.failure,"
        " sidecar.sweep, sidecar.request, sidecar.vector_cache, sidecar.worker, sidecar.progress"
        " cascade"  # the views and functions on them
    )
    op.execute("drop sequence sidecar.lease_token, sidecar.bell")
