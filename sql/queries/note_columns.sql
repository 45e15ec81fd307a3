-- Names after a RENAME, numbers after pg_restore
select sidecar.note_columns()
