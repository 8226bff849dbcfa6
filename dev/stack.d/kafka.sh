# shellcheck shell=bash
# Apache Kafka: one node, broker and controller in one process, run by `java` from the Maven artifacts.

kafka_libraries() { echo "$CACHE_DIR/kafka-$KAFKA_VERSION"; }

kafka_marker() { echo "kafka.Kafka $STACK_DIR/kafka/server.properties"; }

kafka_version() { echo "$KAFKA_VERSION"; }

kafka_stop_signal() { echo TERM; }

kafka_stopped() { keep_class_archive kafka "$KAFKA_VERSION"; }

kafka_configure() { :; }

kafka_download() {
  mvn -q -B -Dstyle.color=never -f "$DEV/stack.d/kafka.pom.xml" \
    "-Dkafka.version=$KAFKA_VERSION" "-Dscala.version=$KAFKA_SCALA_VERSION" \
    "$DEPENDENCY_PLUGIN:copy-dependencies" -DincludeScope=runtime "-DoutputDirectory=$1"
}

kafka_prepare() {
  require_free_port kafka_controller "$KAFKA_CONTROLLER_PORT" || return 1
  download_into "$(kafka_libraries)" kafka_download || return 1
  kafka_write_properties
  [ ! -e "$STACK_DIR/kafka/data/meta.properties" ] || return 0
  local cluster_id
  cluster_id=T$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c2-22)
  "$(java_command)" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    "-Dlog4j2.configurationFile=$STACK_DIR/kafka/log4j2.properties" \
    -cp "$(kafka_libraries)/*" kafka.tools.StorageTool format --standalone -t "$cluster_id" \
    -c "$STACK_DIR/kafka/server.properties" >"$STACK_DIR/kafka/format.log" 2>&1 || {
    complain kafka "formatting failed:"
    tail -n 5 "$STACK_DIR/kafka/format.log" >&2
    return 1
  }
}

# Records keep the time of their event, which may lie years back: retention by time would delete them at once.
# Values of 10 MiB must pass, so that the limits of Tidemill are tested and not the broker's.
# After a kill the controller lets a broker come back only when the session of the old one has run out.
# The cleaner's default buffer is half of the heap that is given here.
# How often transactions that have timed out are looked for: often, so that tests need not wait. A broker that does so
# before it knows who leads which partition, as after a kill, takes partitions for deleted and ends transactions without
# their markers. With Kafka's own 10 s that is rarer, and no less wrong.
# With a proxied port the broker has a second listener, which tells its clients to come back by way of the proxy.
kafka_write_properties() {
  local listener="" advertised="" protocol=""
  if [ -n "$KAFKA_PROXIED_PORT" ]; then
    listener=",PROXIED://127.0.0.1:$KAFKA_PROXIED_PORT"
    advertised=",PROXIED://127.0.0.1:$KAFKA_PROXY_PORT"
    protocol=",PROXIED:PLAINTEXT"
  fi
  cat >"$STACK_DIR/kafka/server.properties" <<TEXT
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT$listener
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT$advertised
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$protocol
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$KAFKA_CONTROLLER_PORT
inter.broker.listener.name=PLAINTEXT
log.dirs=$STACK_DIR/kafka/data
num.partitions=1
auto.create.topics.enable=false
broker.session.timeout.ms=6000
message.max.bytes=12582912
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=16777216
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=$KAFKA_ABORT_INTERVAL_MS
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
TEXT
  cat >"$STACK_DIR/kafka/log4j2.properties" <<'TEXT'
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
logger.transactions.name=kafka.coordinator.transaction
logger.transactions.level=info
TEXT
}

kafka_launch() {
  jvm_flags kafka "$KAFKA_VERSION" "$JIT"
  launch kafka "$(java_command)" "${JVM_FLAGS[@]}" "-Dlog4j2.configurationFile=$STACK_DIR/kafka/log4j2.properties" \
    -cp "$(kafka_libraries)/*" kafka.Kafka "$STACK_DIR/kafka/server.properties"
}

# A listening port is not yet a broker: asks for metadata (version 1, no topics) and wants at least one broker in it.
kafka_answers() {
  owns_port "$1" "$KAFKA_PORT" || return 1
  local reply
  # shellcheck disable=SC2016
  reply=$(timeout 2 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$0"
    printf "\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0" >&3
    head -c 12 <&3 | od -An -v -tx1' "$KAFKA_PORT" 2>/dev/null) || return 1
  [[ $reply =~ ^(\ [0-9a-f]{2}){4}\ 00\ 00\ 00\ 01\ 00\ 00\ 00\ 0[1-9] ]]
}
