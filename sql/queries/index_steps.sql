-- $1 attachment: the statements that build the index which it wants, in order
select step
from sidecar.index_steps($1) as step
