# shellcheck shell=bash
# Postgres from the system's packages, with a cluster of its own and the database `tidemill`. It refuses to run as root,
# so root becomes the user `postgres`, who must be able to reach the data.

postgres_bin() {
  local folder
  for folder in $(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -rV); do
    if [ -x "$folder/initdb" ]; then
      echo "$folder"
      return
    fi
  done
  folder=$(command -v initdb) || return 0
  dirname "$folder"
}

# A checkout below a folder that is closed to others (such as /root) keeps its Postgres data in /var/tmp.
postgres_data() {
  local near="$STACK_DIR/postgres/data" parent
  if [ "$(id -u)" = 0 ]; then
    parent=$STACK_DIR/postgres
    while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
    if ! as_postgres test -x "$parent"; then
      echo "/var/tmp/tidemill-postgres-$(cksum <<<"$STACK_DIR" | cut -d' ' -f1)"
      return
    fi
  fi
  echo "$near"
}

as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
  else
    "$@"
  fi
}

postgres_marker() { echo "-D $(postgres_data) "; }

postgres_version() { "$(postgres_bin)/postgres" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/'; }

# A fast shutdown: does not wait for clients to leave.
postgres_stop_signal() { echo INT; }

postgres_stopped() { :; }

postgres_wipe() { rm -rf "$(postgres_data)"; }

postgres_prepare() {
  local data
  data=$(postgres_data)
  if [ -s "$data/PG_VERSION" ]; then
    clear_postgres_lock "$data/postmaster.pid"
    return
  fi
  mkdir -p "$data"
  [ "$(id -u)" != 0 ] || chown postgres:postgres "$data"
  chmod 700 "$data"
  (cd / && as_postgres "$(postgres_bin)/initdb" -D "$data" -A trust -U postgres --no-sync -E UTF8 --locale=C) \
    >"$STACK_DIR/postgres/initdb.log" 2>&1 || {
    complain postgres "initdb failed:"
    tail -n 5 "$STACK_DIR/postgres/initdb.log" >&2
    return 1
  }
}

# After a kill Postgres refuses to start while anything has the pid in its lock file: the dying server itself, a zombie
# that nobody reaps, or a stranger with the same pid.
clear_postgres_lock() {
  local lock=$1 pid command tries=200
  pid=$(head -n 1 "$lock" 2>/dev/null) || return 0
  while [ -e "/proc/$pid" ] && ! is_zombie "$pid" && [ "$tries" -gt 0 ]; do
    command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || break
    [ -z "$command" ] || [[ $command == *"$(postgres_marker)"* ]] || break
    tries=$((tries - 1))
    sleep 0.05
  done
  rm -f "$lock"
}

postgres_launch() {
  cd / || return 1
  local privileges=()
  [ "$(id -u)" != 0 ] || privileges=(setpriv --reuid=postgres --regid=postgres --clear-groups)
  launch postgres "${privileges[@]}" "$(postgres_bin)/postgres" -D "$(postgres_data)" -p "$POSTGRES_PORT" \
    -c listen_addresses=127.0.0.1 -c "unix_socket_directories=" -c fsync=on -c max_connections=200
}

postgres_query() {
  PGCONNECT_TIMEOUT=2 "$(postgres_bin)/psql" -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -d "$1" \
    -qtAXc "$2" 2>/dev/null
}

# The server's own answer to where its data lies proves that it is ours, also where the files of another user's process
# cannot be looked at.
postgres_answers() { [ "$(postgres_query postgres 'show data_directory')" = "$(postgres_data)" ]; }

postgres_configure() {
  [ "$(postgres_query postgres "select 1 from pg_database where datname = 'tidemill'")" != 1 ] || return 0
  postgres_query postgres 'create database tidemill' || {
    complain postgres "the database 'tidemill' could not be created; see $STACK_DIR/postgres/postgres.log"
    return 1
  }
}
