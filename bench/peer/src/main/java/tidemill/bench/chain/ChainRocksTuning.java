package tidemill.bench.chain;

import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.Options;
import tidemill.bench.RocksTuning;

/** RocksDB as one sets it for point look-ups of which many find nothing: filters also before the disk, small blocks. */
public final class ChainRocksTuning extends RocksTuning {
    @Override
    protected void tune(BlockBasedTableConfig table, Options options) {
        table.setBlockSize(4 << 10);
        options.setWriteBufferSize(32L << 20);
        options.setMaxWriteBufferNumber(3);
        options.setMemtablePrefixBloomSizeRatio(0.1);
        options.setMemtableWholeKeyFiltering(true);
    }
}
