package tidemill.bench;

import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The restart benchmark for Kafka Streams: one keyed step with one store. Runs until its standard input is closed, which
 * is a planned stop, or until it is killed.
 */
public final class RestartPeer {
    private static final String STORE = "accounts";

    private RestartPeer() {
    }

    public static void main(String[] words) throws IOException {
        Arguments arguments = new Arguments(words);
        KafkaStreams streams = new KafkaStreams(topology(arguments), new StreamsConfig(properties(arguments)));
        streams.setGlobalStateRestoreListener(new RestoreLog());
        streams.setStateListener((now, before) -> {
            log("state " + before + " -> " + now);
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
        while (System.in.read() >= 0) {
            // Nobody writes here: only the end of it says something.
        }
        boolean isClosed = streams.close(Duration.ofSeconds(60));
        log(isClosed ? "stopped" : "did not stop in time");
        System.exit(isClosed ? 0 : 1);
    }

    private static Topology topology(Arguments arguments) {
        var bytes = Serdes.ByteArray();
        Topology topology = new Topology();
        topology.addSource("deposits", bytes.deserializer(), bytes.deserializer(), arguments.text("input"));
        topology.addProcessor("keep-balance", KeepBalance::new, "deposits");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), bytes, bytes), "keep-balance");
        topology.addSink("balances", arguments.text("output"), bytes.serializer(), bytes.serializer(), "keep-balance");
        return topology;
    }

    /** Tuned for a quick restart as its documentation and its users do; README.md says what and why. */
    private static Properties properties(Arguments arguments) {
        String prefix = arguments.text("prefix");
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, prefix);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments.text("bootstrap"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments.text("state-dir"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments.number("threads"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments.number("commit-ms"));
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.NUM_STANDBY_REPLICAS_CONFIG, 1);
        properties.put(StreamsConfig.PROBING_REBALANCE_INTERVAL_MS_CONFIG, 60_000L);
        properties.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, RocksTuning.class);

        putConsumer(properties, ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        putConsumer(properties, ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, prefix + "-" + arguments.text("instance"));
        putConsumer(properties, ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 6_000);
        putConsumer(properties, ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, 1_000);
        putConsumer(properties, ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, 10);

        putRestore(properties, ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 10_000);
        putRestore(properties, ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 8 << 20);
        putRestore(properties, ConsumerConfig.FETCH_MAX_BYTES_CONFIG, 64 << 20);
        putRestore(properties, ConsumerConfig.RECEIVE_BUFFER_CONFIG, 4 << 20);

        putProducer(properties, ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
        putProducer(properties, ProducerConfig.LINGER_MS_CONFIG, 5);
        putProducer(properties, ProducerConfig.BATCH_SIZE_CONFIG, 256 << 10);
        putProducer(properties, ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, 10_000);
        return properties;
    }

    private static void putConsumer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.mainConsumerPrefix(name), value);
    }

    private static void putRestore(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.restoreConsumerPrefix(name), value);
    }

    private static void putProducer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.producerPrefix(name), value);
    }

    private static void log(String line) {
        System.err.println(System.currentTimeMillis() + " " + line);
    }

    private static final class KeepBalance implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> accounts;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            accounts = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> deposit) {
            byte[] account = Account.after(accounts.get(deposit.key()), deposit.value());
            accounts.put(deposit.key(), account);
            context.forward(deposit.withValue(Account.balanceChanged(deposit.key(), account)));
        }
    }

    /** One line for the beginning and the end of every restore: the time that it takes is the engine's own figure. */
    private static final class RestoreLog implements StateRestoreListener {
        private final Map<TopicPartition, Long> startedAt = new ConcurrentHashMap<>();

        @Override
        public void onRestoreStart(TopicPartition partition, String store, long from, long to) {
            startedAt.put(partition, System.currentTimeMillis());
            log("restore of " + partition + " from " + from + " to " + to);
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long end, long records) {
            // The end says it all.
        }

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long records) {
            long tookMs = System.currentTimeMillis() - startedAt.getOrDefault(partition, System.currentTimeMillis());
            log("restored " + records + " records of " + partition + " in " + tookMs + " ms");
        }
    }
}
