#!/usr/bin/env bash
# The database's container: makes the cluster once, with the extension in it, and is the server from then on.
set -euo pipefail

data=/var/lib/postgresql/data
server=(-c "listen_addresses=" -c "unix_socket_directories=/run/postgresql")

make_cluster() {
  # What an interrupted first start has left.
  find "$data" -mindepth 1 -delete
  initdb --pgdata="$data" --username=postgres --auth=peer --encoding=UTF8 --locale=C.UTF-8 --no-instructions
  cat >>"$data/postgresql.conf" <<'CONF'
timezone = 'UTC'
shared_preload_libraries = 'identity_pgx'
identity_pgx.database = 'identity'
include '/public/worker.conf' # identity_pgx.worker_public_key
CONF
  printf 'local identity anchor_worker peer map=worker\n%s\n' "$(cat "$data/pg_hba.conf")" >"$data/pg_hba.conf"
  printf 'worker anchor-worker anchor_worker\n' >>"$data/pg_ident.conf"
  postgres --single -D "$data" postgres <<<'CREATE DATABASE identity ENCODING '"'UTF8'"' TEMPLATE template0' >/dev/null
  pg_ctl -D "$data" -o "-c listen_addresses= -c unix_socket_directories=/tmp" -w start
  psql -X -q -v ON_ERROR_STOP=1 -h /tmp -d identity <<'SQL'
CREATE EXTENSION identity_pgx;
SELECT identity.initialize();
CREATE ROLE anchor_worker LOGIN IN ROLE identity_worker;
SQL
  pg_ctl -D "$data" -m fast -w stop
  touch "$data/made"
}

[ -e "$data/made" ] || make_cluster
exec postgres -D "$data" "${server[@]}"
