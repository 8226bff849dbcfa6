package tidemill.bench;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;

/** RocksDB as one sets it for a store that is restored often: large buffers, late and parallel compaction, one cache. */
public class RocksTuning implements RocksDBConfigSetter {
    private static final Cache CACHE = new LRUCache(256L << 20);

    private final BloomFilter filter = new BloomFilter(10, false);

    @Override
    public final void setConfig(String store, Options options, Map<String, Object> configs) {
        // Kafka Streams wants its own instance back: its metrics ask that one for the cache.
        BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
        table.setBlockCache(CACHE);
        table.setFilterPolicy(filter);
        options.setIncreaseParallelism(2);
        tune(table, options);
        options.setTableFormatConfig(table);
    }

    protected void tune(BlockBasedTableConfig table, Options options) {
        table.setBlockSize(16 << 10);
        options.setWriteBufferSize(64L << 20);
        options.setMaxWriteBufferNumber(4);
        options.setLevel0FileNumCompactionTrigger(10);
        options.setLevel0SlowdownWritesTrigger(40);
        options.setLevel0StopWritesTrigger(60);
    }

    @Override
    public final void close(String store, Options options) {
        filter.close();
    }
}
