# shellcheck shell=bash
# The same four components from docker-compose.yml, on the same ports, where a Docker daemon answers.

compose() {
  local project
  project="tidemill-$(cksum <<<"$STACK_DIR" | cut -d' ' -f1)"
  TIDEMILL_KAFKA_PORT=$KAFKA_PORT TIDEMILL_REGISTRY_PORT=$REGISTRY_PORT TIDEMILL_POSTGRES_PORT=$POSTGRES_PORT \
    TIDEMILL_REDIS_PORT=$REDIS_PORT docker compose -p "$project" -f "$ROOT/docker-compose.yml" "$@"
}

docker_up() {
  docker compose version >/dev/null 2>&1 ||
    fail "docker compose is not installed; TIDEMILL_STACK_MODE=native does without"
  echo docker >"$STACK_DIR/mode"
  compose up --detach --wait "${COMPONENTS[@]}"
  registry_configure
}

docker_down() { compose down; }

docker_wipe() { compose down --volumes; }

docker_logs() { compose logs --follow --tail 40 "$@"; }

docker_status() {
  compose ps
  [ "$(compose ps --status running --quiet "${COMPONENTS[@]}" | wc -l)" = "${#COMPONENTS[@]}" ]
}
