package tidemill.bench.chain;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;

/** RocksDB as one sets it for point look-ups of which many find nothing: filters in memory, large buffers, one cache. */
public final class ChainRocksTuning implements RocksDBConfigSetter {
    private static final Cache CACHE = new LRUCache(256L << 20);

    private final BloomFilter filter = new BloomFilter(10, false);

    @Override
    public void setConfig(String store, Options options, Map<String, Object> configs) {
        // Kafka Streams wants its own instance back: its metrics ask that one for the cache.
        BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
        table.setBlockCache(CACHE);
        table.setBlockSize(4 << 10);
        table.setFilterPolicy(filter);
        options.setTableFormatConfig(table);
        options.setWriteBufferSize(32L << 20);
        options.setMaxWriteBufferNumber(3);
        options.setMemtablePrefixBloomSizeRatio(0.1);
        options.setMemtableWholeKeyFiltering(true);
        options.setIncreaseParallelism(2);
    }

    @Override
    public void close(String store, Options options) {
        filter.close();
    }
}
