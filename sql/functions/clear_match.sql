-- SQL text that finds a source row's vector in the view sidecar_N_vectors: e.k1 = r.id.
create or replace function sidecar.clear_match(attachment integer, source text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select string_agg(format('e.k%s %s %s.%I', k.place, k.equals, clear_match.source, k.source_name), ' and ' order by k.place)
  from sidecar.companion_keys(clear_match.attachment) k
$$;
