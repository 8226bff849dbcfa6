# shellcheck shell=bash
# What must be on the machine before the stack can run natively. As root on a Debian-like system it is installed;
# elsewhere every missing part is named, with where to get it.

require_prerequisites() {
  local name running=0
  for name in "${COMPONENTS[@]}"; do
    ! component_pid "$name" >/dev/null || running=$((running + 1))
  done
  [ "$running" -lt "${#COMPONENTS[@]}" ] || return 0

  [ -e /proc/net/tcp ] || fail "the native stack needs Linux; start Docker and run dev/stack up again"
  local missing
  missing=$(missing_parts)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install_packages "$missing"
    missing=$(missing_parts)
  fi
  [ -n "$missing" ] || return 0
  local part
  for part in $missing; do
    complain "$part" "$(remedy "$part")"
  done
  fail "not everything is there that the stack needs: install it, or start Docker"
}

missing_parts() {
  command -v curl >/dev/null || echo curl
  java_is_recent || echo java
  downloads_complete || command -v mvn >/dev/null || echo maven
  [ -n "$(postgres_bin)" ] || echo postgres
  command -v redis-server >/dev/null && command -v redis-cli >/dev/null || echo redis
}

downloads_complete() {
  [ -d "$(kafka_libraries)" ] && [ -d "$(registry_folder)" ]
}

java_is_recent() {
  local major
  major=$("$(java_command)" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') || return 1
  [ "${major:-0}" -ge 17 ]
}

remedy() {
  case $1 in
    curl) echo "curl is not installed" ;;
    java) echo "Java 17 or newer is not on PATH or in JAVA_HOME (Debian: openjdk-17-jre-headless)" ;;
    maven) echo "mvn is not installed; it downloads Kafka and the registry once (Debian: maven)" ;;
    postgres) echo "Postgres 14 or newer is not installed: no initdb found (Debian: postgresql)" ;;
    redis) echo "redis-server and redis-cli are not installed (Debian: redis-server)" ;;
  esac
}

# Packages of the distribution would start their own servers; a policy of 101 forbids that while they are installed.
install_packages() {
  local packages=() part policy=/usr/sbin/policy-rc.d
  echo "dev/stack: installing: ${1//$'\n'/ }"
  apt-get update -q >"$STACK_DIR/apt.log" 2>&1 || fail "apt-get update failed; see $STACK_DIR/apt.log"
  for part in $1; do
    packages+=("$(package_for "$part")")
  done
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
  fi
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" \
    >>"$STACK_DIR/apt.log" 2>&1 || fail "apt-get install ${packages[*]} failed; see $STACK_DIR/apt.log"
}

package_for() {
  case $1 in
    java)
      if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
        echo openjdk-17-jre-headless
      else
        echo default-jre-headless
      fi
      ;;
    postgres) echo postgresql ;;
    redis) echo redis-server ;;
    *) echo "$1" ;;
  esac
}

# Runs a download into a fresh folder and moves it into place whole, so that an interrupted one leaves nothing behind
# and two checkouts can download at once.
download_into() {
  local target=$1 staging
  shift
  [ ! -d "$target" ] || return 0
  mkdir -p "$CACHE_DIR"
  staging=$(mktemp -d "$CACHE_DIR/download.XXXXXX")
  if ! "$@" "$staging" >"$staging.log" 2>&1; then
    complain "$(basename "$target")" "download failed:"
    grep -m 3 -v '^$' "$staging.log" >&2 || true
    rm -rf "$staging" "$staging.log"
    return 1
  fi
  rm -f "$staging.log"
  mv -T "$staging" "$target" 2>/dev/null || rm -rf "$staging"
}
