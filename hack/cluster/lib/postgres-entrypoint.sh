#!/bin/sh
# Keeps the contract of the official PostgreSQL image: the first start makes the
# database as POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD(_FILE) and PGDATA
# say; then the arguments run as the first process.
set -eu

if [ "${1:-postgres}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
  fi
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE is required for the first start" >&2
    exit 1
  fi
  # Made beside its place and moved there when whole, so that a start that was
  # cut off leaves nothing that looks like a database.
  new=$PGDATA.new
  rm -rf "$new"
  umask 077
  echo "$POSTGRES_PASSWORD" >/tmp/password
  initdb --pgdata="$new" --username="$user" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
  if [ "$database" != postgres ]; then
    echo "CREATE DATABASE \"$database\";" | postgres --single -D "$new" postgres >/dev/null
  fi
  rmdir "$PGDATA" 2>/dev/null || true
  mv "$new" "$PGDATA"
fi
unset POSTGRES_PASSWORD
exec "$@"
