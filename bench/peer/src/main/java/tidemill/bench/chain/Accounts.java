package tidemill.bench.chain;

import java.nio.ByteBuffer;
import org.apache.kafka.streams.state.KeyValueStore;

/** Posted balance and sequence of accounts, and the one that was looked up last. */
final class Accounts {
    static final String STORE = "accounts";

    private static final long OPENING_MINOR = 1_000_000_000;
    private static final int BYTES = 16;

    long postedMinor;
    long seq;

    private final KeyValueStore<byte[], byte[]> store;

    Accounts(KeyValueStore<byte[], byte[]> store) {
        this.store = store;
    }

    void find(byte[] account) {
        byte[] value = store.get(account);
        if (value == null) {
            postedMinor = OPENING_MINOR;
            seq = 0;
            return;
        }
        ByteBuffer fields = ByteBuffer.wrap(value);
        postedMinor = fields.getLong(0);
        seq = fields.getLong(8);
    }

    /** An entry on the account that was looked up last. */
    void enter(long amountMinor) {
        postedMinor = Math.addExact(postedMinor, amountMinor);
        seq++;
    }

    void keep(byte[] account) {
        store.put(account, ByteBuffer.allocate(BYTES).putLong(postedMinor).putLong(seq).array());
    }
}
