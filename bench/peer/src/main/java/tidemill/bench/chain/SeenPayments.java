package tidemill.bench.chain;

import java.nio.ByteBuffer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Payments of the last 24 hours, by day, id and debit account: hash of the value and {@code created_at}. With the day in
 * front, expired entries lie before all others, and a day of which there is nothing need not be asked for.
 */
final class SeenPayments {
    static final String STORE = "seen-payments";
    static final int DAY_BYTES = 4;

    private static final long DAY_MS = 24L * 60 * 60 * 1_000;
    /** By how much {@code created_at} may go back within a partition. */
    private static final long LATENESS_MS = 2_000;
    private static final int VALUE_BYTES = 16;
    private static final int EVICTION_INTERVAL_PAYMENTS = 64;
    private static final int EVICTED_MAX = 128;
    private static final int UUID_BYTES = 16;
    private static final byte UUID = 1;
    private static final byte OTHER = 0;

    enum Verdict { NEW, DUPLICATE, CONFLICT }

    private final KeyValueStore<byte[], byte[]> store;
    private long oldestDay = Long.MAX_VALUE;
    private int sinceEviction;

    SeenPayments(KeyValueStore<byte[], byte[]> store) {
        this.store = store;
        try (KeyValueIterator<byte[], byte[]> all = store.all()) {
            while (all.hasNext()) {
                oldestDay = Math.min(oldestDay, dayOf(all.next().key));
            }
        }
    }

    /** Notes a new payment. */
    Verdict see(PaymentReader payment) {
        long day = Math.floorDiv(payment.createdAtMs, DAY_MS);
        long latest = Math.floorDiv(payment.createdAtMs + LATENESS_MS, DAY_MS);
        byte[] key = key(payment);
        for (long candidate = latest; candidate >= day - 1 && candidate >= oldestDay; candidate--) {
            // A key that has been written belongs to the store.
            setDay(key, candidate);
            byte[] value = store.get(key);
            if (value != null && Math.abs(number(value, 8) - payment.createdAtMs) < DAY_MS) {
                return number(value, 0) == payment.valueHash ? Verdict.DUPLICATE : Verdict.CONFLICT;
            }
        }
        setDay(key, day);
        store.put(key, ByteBuffer.allocate(VALUE_BYTES).putLong(payment.valueHash).putLong(payment.createdAtMs).array());
        oldestDay = Math.min(oldestDay, day);
        if (++sinceEviction >= EVICTION_INTERVAL_PAYMENTS) {
            sinceEviction = 0;
            evict(Math.floorDiv(payment.createdAtMs - LATENESS_MS, DAY_MS) - 1);
        }
        return Verdict.NEW;
    }

    private void evict(long firstKept) {
        if (oldestDay >= firstKept) {
            return;
        }
        byte[] to = new byte[DAY_BYTES];
        setDay(to, firstKept);
        int evicted = 0;
        try (KeyValueIterator<byte[], byte[]> expired = store.range(null, to)) {
            while (expired.hasNext() && evicted < EVICTED_MAX) {
                KeyValue<byte[], byte[]> entry = expired.next();
                store.delete(entry.key);
                evicted++;
            }
        }
        if (evicted < EVICTED_MAX) {
            oldestDay = firstKept;
        }
    }

    private static byte[] key(PaymentReader payment) {
        byte[] id = payment.id;
        byte[] account = payment.debitAccount;
        byte[] uuid = uuid(id);
        if (uuid != null) {
            byte[] key = new byte[DAY_BYTES + 1 + UUID_BYTES + account.length];
            key[DAY_BYTES] = UUID;
            System.arraycopy(uuid, 0, key, DAY_BYTES + 1, UUID_BYTES);
            System.arraycopy(account, 0, key, DAY_BYTES + 1 + UUID_BYTES, account.length);
            return key;
        }
        ByteBuffer key = ByteBuffer.allocate(DAY_BYTES + 1 + Integer.BYTES + id.length + account.length);
        key.position(DAY_BYTES);
        return key.put(OTHER).putInt(id.length).put(id).put(account).array();
    }

    private static void setDay(byte[] key, long day) {
        int sorted = (int) day ^ Integer.MIN_VALUE;
        key[0] = (byte) (sorted >>> 24);
        key[1] = (byte) (sorted >>> 16);
        key[2] = (byte) (sorted >>> 8);
        key[3] = (byte) sorted;
    }

    private static long dayOf(byte[] key) {
        return ByteBuffer.wrap(key).getInt() ^ Integer.MIN_VALUE;
    }

    private static long number(byte[] value, int at) {
        return ByteBuffer.wrap(value).getLong(at);
    }

    /** Null for what is not a UUID in its canonical form. */
    private static byte[] uuid(byte[] text) {
        if (text.length != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-') {
            return null;
        }
        byte[] uuid = new byte[UUID_BYTES];
        int at = 0;
        for (int index = 0; index < UUID_BYTES; index++) {
            if (text[at] == '-') {
                at++;
            }
            int high = digit(text[at++]);
            int low = digit(text[at++]);
            if (high < 0 || low < 0) {
                return null;
            }
            uuid[index] = (byte) (high << 4 | low);
        }
        return uuid;
    }

    private static int digit(byte text) {
        if (text >= '0' && text <= '9') {
            return text - '0';
        }
        return text >= 'a' && text <= 'f' ? text - 'a' + 10 : -1;
    }
}
