# shellcheck shell=bash disable=SC2034
# Versions, ports and folders. Every default can be overridden from the environment.

KAFKA_VERSION=4.3.1
KAFKA_SCALA_VERSION=2.13
REGISTRY_VERSION=3.0.9
DEPENDENCY_PLUGIN=org.apache.maven.plugins:maven-dependency-plugin:2.8

KAFKA_PORT=${TIDEMILL_KAFKA_PORT:-19092}
KAFKA_CONTROLLER_PORT=${TIDEMILL_KAFKA_CONTROLLER_PORT:-$((KAFKA_PORT + 1))}
KAFKA_PROXIED_PORT=${TIDEMILL_KAFKA_PROXIED_PORT:-}
KAFKA_PROXY_PORT=${TIDEMILL_KAFKA_PROXY_PORT:-}
KAFKA_ABORT_INTERVAL_MS=${TIDEMILL_KAFKA_ABORT_INTERVAL_MS:-1000}
REGISTRY_PORT=${TIDEMILL_REGISTRY_PORT:-18081}
POSTGRES_PORT=${TIDEMILL_POSTGRES_PORT:-15432}
REDIS_PORT=${TIDEMILL_REDIS_PORT:-16379}

STACK_DIR=$(realpath -m "${TIDEMILL_STACK_DIR:-$ROOT/data/stack}")
CACHE_DIR=$(realpath -m "${TIDEMILL_STACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill/stack}")
JIT=${TIDEMILL_STACK_JIT:-c1}

START_TIMEOUT_S=90
# The first run of a JVM writes its class archive when it is stopped, which takes long on a busy machine.
STOP_TIMEOUT_S=60

say() { printf '%-10s %s\n' "$1" "$2"; }

complain() { printf '%-10s %s\n' "$1" "${*:2}" >&2; }

fail() {
  echo "dev/stack: $1" >&2
  exit 1
}

# What the last `up` chose; before that, docker wherever a daemon answers.
stack_mode() {
  if [ -s "$STACK_DIR/mode" ]; then
    cat "$STACK_DIR/mode"
  elif [ -n "${TIDEMILL_STACK_MODE:-}" ]; then
    echo "$TIDEMILL_STACK_MODE"
  elif docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    echo docker
  else
    echo native
  fi
}

java_command() {
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
    echo "$JAVA_HOME/bin/java"
  else
    echo java
  fi
}

# Sets JVM_FLAGS for a component. Loading classes is most of a start: the first run writes an archive of them when it is
# stopped, later runs map it. An archive fits one Java, one set of jars and one set of flags, so its name says all three.
jvm_flags() {
  local name=$1 version=$2 jit=$3 archive
  archive=$(class_archive "$name" "$version" "$jit")
  case $jit in
    c1) JVM_FLAGS=(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1) ;;
    c2) JVM_FLAGS=(-Xmx1g -XX:+UseG1GC) ;;
    *) fail "TIDEMILL_STACK_JIT is '$jit'; it must be c1 or c2" ;;
  esac
  if [ -s "$archive" ]; then
    JVM_FLAGS+=("-XX:SharedArchiveFile=$archive" -Xlog:cds=off)
  else
    JVM_FLAGS+=("-XX:ArchiveClassesAtExit=$STACK_DIR/$name/classes-$jit.jsa" -Xlog:cds=off)
    JVM_FLAGS+=(-Xlog:cds+dynamic=off)
  fi
}

class_archive() {
  local java_version
  java_version=$("$(java_command)" -version 2>&1 | md5sum | cut -c1-8)
  echo "$CACHE_DIR/$1-$2-$java_version-$3.jsa"
}

# Moves the archive that a first run left behind to where the next run looks for it.
keep_class_archive() {
  local jit fresh
  for jit in c1 c2; do
    fresh="$STACK_DIR/$1/classes-$jit.jsa"
    [ ! -s "$fresh" ] || mv -f "$fresh" "$(class_archive "$1" "$2" "$jit")"
  done
}
