# shellcheck shell=bash
# Starting, finding and stopping one process per component. A process counts as ours only if its pid is in our pid file
# and its command line carries our folder, so that neither a reused pid nor somebody else's server is ever taken for it.

# The pid of the running component; fails if there is none. A zombie that nobody reaps is not running.
component_pid() {
  local pid command
  pid=$(cat "$STACK_DIR/$1/pid" 2>/dev/null) || return 1
  command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || return 1
  [[ $command == *"$("${1}_marker")"* ]] || return 1
  ! is_zombie "$pid" || return 1
  echo "$pid"
}

is_zombie() { [ "$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null)" = Z ]; }

component_port() {
  local variable="${1^^}_PORT"
  echo "${!variable}"
}

# Inodes of the sockets that listen on a port.
listening_sockets() {
  local hex
  hex=$(printf '%04X' "$1")
  awk -v port=":$hex\$" '$4 == "0A" && $2 ~ port { print $10 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

owns_port() {
  local pid=$1 inode
  for inode in $(listening_sockets "$2"); do
    [ -z "$(find "/proc/$pid/fd" -lname "socket:\\[$inode\\]" -print -quit 2>/dev/null)" ] || return 0
  done
  return 1
}

# Who listens on a port, in words.
describe_owner() {
  local inode path pid
  for inode in $(listening_sockets "$1"); do
    path=$(find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" -print -quit 2>/dev/null) || true
    pid=$(cut -d/ -f3 <<<"$path")
    if [ -n "$pid" ]; then
      echo "pid $pid ($(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c1-80))"
      return
    fi
  done
  echo "a process of another user"
}

# A process that was killed may hold its port for a moment longer.
require_free_port() {
  local name=$1 port=$2 tries=50
  while [ -n "$(listening_sockets "$port")" ]; do
    tries=$((tries - 1))
    if [ "$tries" = 0 ]; then
      complain "$name" "port $port is taken by $(describe_owner "$port");" \
        "stop it, or choose another port with TIDEMILL_${name^^}_PORT"
      return 1
    fi
    sleep 0.05
  done
}

# Starts a server in a session of its own and writes its pid down.
launch() {
  local name=$1
  shift
  local log="$STACK_DIR/$name/$name.log"
  [ ! -e "$log" ] || mv -f "$log" "$log.1"
  rm -f "$STACK_DIR/$name"/classes-*.jsa
  setsid "$@" >"$log" 2>&1 </dev/null 9>&- &
  echo $! >"$STACK_DIR/$name/pid"
}

component_up() {
  local name=$1 pid port started state="already up"
  port=$(component_port "$name")
  started=$(now_ms)
  if ! component_pid "$name" >/dev/null; then
    state="up"
    require_free_port "$name" "$port" || return 1
    mkdir -p "$STACK_DIR/$name" || return 1
    "${name}_prepare" || return 1
    "${name}_launch" || return 1
  fi
  pid=$(cat "$STACK_DIR/$name/pid")
  wait_until_answering "$name" "$pid" || return 1
  "${name}_configure" || return 1
  say "$name" "$state on 127.0.0.1:$port (pid $pid, $(elapsed_s "$started") s)"
}

wait_until_answering() {
  local name=$1 pid=$2 deadline
  deadline=$(($(now_ms) + START_TIMEOUT_S * 1000))
  until "${name}_answers" "$pid"; do
    if [ ! -e "/proc/$pid" ] || is_zombie "$pid"; then
      complain "$name" "ended while starting; the end of $STACK_DIR/$name/$name.log:"
      tail -n 15 "$STACK_DIR/$name/$name.log" >&2
      return 1
    fi
    if [ "$(now_ms)" -ge "$deadline" ]; then
      complain "$name" "does not answer after $START_TIMEOUT_S s; see $STACK_DIR/$name/$name.log"
      return 1
    fi
    sleep 0.05
  done
}

component_down() {
  local name=$1 pid started
  if ! pid=$(component_pid "$name"); then
    rm -f "$STACK_DIR/$name/pid"
    return 0
  fi
  started=$(now_ms)
  kill -s "$("${name}_stop_signal")" "$pid"
  if ! wait_until_gone "$name" "$STOP_TIMEOUT_S"; then
    complain "$name" "pid $pid did not stop within $STOP_TIMEOUT_S s; killed"
    kill -s KILL "$pid"
    wait_until_gone "$name" 10 || {
      complain "$name" "pid $pid cannot be killed"
      return 1
    }
    rm -f "$STACK_DIR/$name"/classes-*.jsa
  fi
  rm -f "$STACK_DIR/$name/pid"
  "${name}_stopped"
  require_free_port "$name" "$(component_port "$name")" || return 1
  say "$name" "down ($(elapsed_s "$started") s)"
}

wait_until_gone() {
  local deadline
  deadline=$(($(now_ms) + $2 * 1000))
  while component_pid "$1" >/dev/null; do
    [ "$(now_ms)" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}

component_status() {
  local name=$1 pid state=up
  if ! pid=$(component_pid "$name"); then
    printf '%-10s %-8s %-8s %-6s %-10s %s\n' "$name" down - "$(component_port "$name")" - -
    return 1
  fi
  "${name}_answers" "$pid" || state=silent
  printf '%-10s %-8s %-8s %-6s %-10s %s\n' "$name" "$state" "$pid" "$(component_port "$name")" "$("${name}_version")" \
    "$(uptime_of "$pid")"
  [ "$state" = up ]
}

uptime_of() {
  local started_ticks now_s seconds
  started_ticks=$(sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20)
  now_s=$(cut -d. -f1 /proc/uptime)
  seconds=$((now_s - started_ticks / $(getconf CLK_TCK)))
  printf '%d:%02d:%02d' $((seconds / 3600)) $((seconds % 3600 / 60)) $((seconds % 60))
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

elapsed_s() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%02d' $((ms / 1000)) $((ms % 1000 / 10))
}
