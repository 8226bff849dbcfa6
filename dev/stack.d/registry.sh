# shellcheck shell=bash
# The schema registry: Apicurio, which speaks Confluent's API under /apis/ccompat/v7. Schemas lie in a file, so that
# the ids in records that Kafka still holds mean the same after a restart.

registry_folder() { echo "$CACHE_DIR/registry-$REGISTRY_VERSION"; }

registry_marker() { echo "-Dapicurio.datasource.url=jdbc:h2:file:$STACK_DIR/registry/schemas "; }

registry_version() { echo "$REGISTRY_VERSION"; }

registry_stop_signal() { echo TERM; }

registry_stopped() { keep_class_archive registry "$REGISTRY_VERSION"; }

registry_download() {
  mvn -q -B -Dstyle.color=never "$DEPENDENCY_PLUGIN:copy" \
    "-Dartifact=io.apicurio:apicurio-registry-app:$REGISTRY_VERSION:tar.gz:all" \
    "-DoutputDirectory=$1" &&
    tar xzf "$1/apicurio-registry-app-$REGISTRY_VERSION-all.tar.gz" -C "$1" &&
    rm "$1/apicurio-registry-app-$REGISTRY_VERSION-all.tar.gz"
}

registry_prepare() { download_into "$(registry_folder)" registry_download; }

registry_launch() {
  jvm_flags registry "$REGISTRY_VERSION" c1
  launch registry "$(java_command)" "${JVM_FLAGS[@]}" \
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$REGISTRY_PORT" \
    -Dquarkus.log.level=WARN -Dquarkus.http.access-log.enabled=false \
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 \
    "-Dapicurio.datasource.url=jdbc:h2:file:$STACK_DIR/registry/schemas" \
    -Dapicurio.datasource.username=sa -Dapicurio.datasource.password=sa \
    -jar "$(registry_folder)/apicurio-registry-app-$REGISTRY_VERSION-runner.jar"
}

registry_answers() {
  owns_port "$1" "$REGISTRY_PORT" &&
    curl -sf -o /dev/null --max-time 2 "http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7/subjects"
}

# Without this it accepts any change of a schema.
registry_configure() {
  curl -sf -o /dev/null --max-time 10 -X PUT -H 'Content-Type: application/vnd.schemaregistry.v1+json' \
    -d '{"compatibility":"BACKWARD"}' "http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7/config" || {
    complain registry "the global compatibility could not be set to BACKWARD; see $STACK_DIR/registry/registry.log"
    return 1
  }
}
