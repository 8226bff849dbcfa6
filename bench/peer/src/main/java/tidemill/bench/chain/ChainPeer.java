package tidemill.bench.chain;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import tidemill.bench.Arguments;

/** The benchmark chain for Kafka Streams. Ends when the input is drained, or when it is killed. */
public final class ChainPeer {
    static final String ENTRIES = "entries";
    static final String INSTRUCTIONS = "instructions";
    static final String REJECTED = "rejected";
    static final String BALANCES = "balances";

    private static final String[] PAYING = {"pay"};
    private static final String[] BOTH = {"pay", "credit"};
    private static final int PARTITIONS = 8;
    private static final long TICK_MS = 10;
    private static final long PROGRESS_INTERVAL_MS = 1_000;

    private final Arguments arguments;
    private final Progress progress = new Progress();
    private final String prefix;
    private final String input;

    private ChainPeer(Arguments arguments) {
        this.arguments = arguments;
        prefix = arguments.text("prefix");
        input = arguments.text("input");
    }

    public static void main(String[] words) throws Exception {
        new ChainPeer(new Arguments(words)).run();
    }

    private void run() throws Exception {
        KafkaStreams streams = new KafkaStreams(topology(), new StreamsConfig(properties()));
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.ERROR) {
                // Nothing comes after this; whoever measures has to know.
                Runtime.getRuntime().halt(1);
            }
        });
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        if (arguments.text("end").equals("never")) {
            Thread.currentThread().join();
        }
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", arguments.text("bootstrap")))) {
            waitUntilDrained(admin);
        }
        double seconds = (System.currentTimeMillis() - progress.firstReadMs.get()) / 1_000.0;
        long payments = progress.payments();
        System.out.printf("RESULT payments=%d seconds=%.3f payments_per_s=%.0f%n", payments, seconds,
            payments / seconds);
        System.exit(streams.close(Duration.ofSeconds(60)) ? 0 : 1);
    }

    /** Everything is processed first, and then committed. */
    private void waitUntilDrained(Admin admin) throws Exception {
        Map<TopicPartition, Long> ends = ends(admin);
        long payments = ends.values().stream().mapToLong(Long::longValue).sum();
        long toldAtMs = 0;
        while (progress.payments() < payments || progress.underWay() > 0 || !isCommitted(admin, ends)) {
            long nowMs = System.currentTimeMillis();
            if (nowMs - toldAtMs >= PROGRESS_INTERVAL_MS && progress.firstReadMs.get() > 0) {
                toldAtMs = nowMs;
                double seconds = (nowMs - progress.firstReadMs.get()) / 1_000.0;
                System.err.printf("PROGRESS seconds=%.3f payments=%d%n", seconds, progress.payments());
            }
            Thread.sleep(TICK_MS);
        }
    }

    /**
     * Whether the group stands at the end of the payments, and of the instructions: behind the last of those lies the
     * marker of its transaction.
     */
    private boolean isCommitted(Admin admin, Map<TopicPartition, Long> ends) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> committed =
            admin.listConsumerGroupOffsets(prefix).partitionsToOffsetAndMetadata().get();
        for (Map.Entry<TopicPartition, Long> end : ends.entrySet()) {
            OffsetAndMetadata position = committed.get(end.getKey());
            if (end.getValue() > 0 && (position == null || position.offset() < end.getValue())) {
                return false;
            }
        }
        for (Map.Entry<TopicPartition, Long> end : offsets(admin, prefix + ".instructions").entrySet()) {
            OffsetAndMetadata position = committed.get(end.getKey());
            if (end.getValue() > 0 && (position == null || position.offset() < end.getValue() - 1)) {
                return false;
            }
        }
        return true;
    }

    private Map<TopicPartition, Long> ends(Admin admin) throws Exception {
        return offsets(admin, input);
    }

    private static Map<TopicPartition, Long> offsets(Admin admin, String topic) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        for (int partition = 0; partition < PARTITIONS; partition++) {
            asked.put(new TopicPartition(topic, partition), OffsetSpec.latest());
        }
        Map<TopicPartition, Long> ends = new HashMap<>();
        for (Map.Entry<TopicPartition, ListOffsetsResultInfo> end : admin.listOffsets(asked).all().get().entrySet()) {
            ends.put(end.getKey(), end.getValue().offset());
        }
        return ends;
    }

    private Topology topology() {
        var bytes = Serdes.ByteArray();
        Topology topology = new Topology();
        topology.addSource("payments", bytes.deserializer(), bytes.deserializer(), input);
        topology.addSource("to-credit", bytes.deserializer(), bytes.deserializer(), prefix + ".instructions");
        topology.addProcessor("pay", () -> new PayProcessor(progress), "payments");
        topology.addProcessor("credit", () -> new CreditProcessor(progress), "to-credit");
        topology.addStateStore(store(SeenPayments.STORE, SeenPayments.DAY_BYTES), PAYING);
        topology.addStateStore(store(PaidMinutes.STORE, 0), PAYING);
        topology.addStateStore(store(Accounts.STORE, 0), BOTH);
        topology.addSink(ENTRIES, prefix + ".entries", bytes.serializer(), bytes.serializer(), BOTH);
        topology.addSink(BALANCES, prefix + ".balances", bytes.serializer(), bytes.serializer(), BOTH);
        topology.addSink(INSTRUCTIONS, prefix + ".instructions", bytes.serializer(), bytes.serializer(), PAYING);
        topology.addSink(REJECTED, prefix + ".rejected", bytes.serializer(), bytes.serializer(), PAYING);
        return topology;
    }

    private StoreBuilder<KeyValueStore<byte[], byte[]>> store(String name, int prefixBytes) {
        KeyValueBytesStoreSupplier supplier = switch (arguments.text("stores")) {
            case "rocksdb" -> Stores.persistentKeyValueStore(name);
            case "memory" -> Stores.inMemoryKeyValueStore(name);
            case "hash" -> HashStore.supplier(name, prefixBytes);
            default -> throw new IllegalArgumentException("--stores is rocksdb, memory or hash");
        };
        return Stores.keyValueStoreBuilder(supplier, Serdes.ByteArray(), Serdes.ByteArray());
    }

    /** bench/README.md says what and why. */
    private Properties properties() {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, prefix);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments.text("bootstrap"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments.text("state-dir"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments.number("threads"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments.number("commit-ms"));
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, StreamsConfig.MAX_TASK_IDLE_MS_DISABLED);
        properties.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 5_000);
        properties.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, ChainRocksTuning.class);

        putConsumer(properties, ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        putConsumer(properties, ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 5_000);
        putConsumer(properties, ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 1 << 20);
        putConsumer(properties, ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, 10);
        putConsumer(properties, ConsumerConfig.CHECK_CRCS_CONFIG, false);
        putConsumer(properties, ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 6_000);
        putConsumer(properties, ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, 1_000);

        putProducer(properties, ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
        putProducer(properties, ProducerConfig.LINGER_MS_CONFIG, 100);
        putProducer(properties, ProducerConfig.RETRY_BACKOFF_MS_CONFIG, 5);
        putProducer(properties, ProducerConfig.RETRY_BACKOFF_MAX_MS_CONFIG, 50);
        putProducer(properties, ProducerConfig.BATCH_SIZE_CONFIG, 256 << 10);
        putProducer(properties, ProducerConfig.BUFFER_MEMORY_CONFIG, 128L << 20);
        putProducer(properties, ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, 10_000);
        return properties;
    }

    private static void putConsumer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.mainConsumerPrefix(name), value);
    }

    private static void putProducer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.producerPrefix(name), value);
    }
}
