# shellcheck shell=bash
# Redis from the system's packages, in memory only: it holds read models, which are rebuilt from topics.

redis_marker() { echo "redis-server $STACK_DIR/redis/redis.conf"; }

redis_version() { redis-server --version | sed 's/.* v=\([0-9.]*\).*/\1/'; }

redis_stop_signal() { echo TERM; }

redis_stopped() { :; }

redis_configure() { :; }

redis_prepare() {
  cat >"$STACK_DIR/redis/redis.conf" <<TEXT
bind 127.0.0.1
port $REDIS_PORT
dir $STACK_DIR/redis
save ""
appendonly no
set-proc-title no
TEXT
}

redis_launch() { launch redis redis-server "$STACK_DIR/redis/redis.conf"; }

redis_answers() {
  [[ $(redis-cli -h 127.0.0.1 -p "$REDIS_PORT" info server 2>/dev/null) == *process_id:"$1"$'\r'* ]]
}
