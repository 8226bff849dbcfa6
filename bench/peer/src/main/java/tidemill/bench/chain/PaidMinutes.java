package tidemill.bench.chain;

import java.nio.ByteBuffer;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Count and sum of what each account paid, by minute, newest first: the newest minute, then for each minute with payments
 * how long before the newest it was, count and sum. One byte holds the count and four the sum, because all that is
 * accepted in one minute scores less than {@link #DECLINED_FROM} together. One minute more than the window is kept, for
 * payments that come late.
 */
final class PaidMinutes {
    static final String STORE = "paid-minutes";

    private static final long MINUTE_MS = 60_000;
    private static final int WINDOW_MINUTES = 60;
    private static final int SCORE_PER_PAYMENT = 10;
    private static final int MINOR_PER_SCORE = 10_000;
    private static final int DECLINED_FROM = 2_000;
    private static final int NEWEST_BYTES = 8;
    private static final int BUCKET_BYTES = 6;

    private final KeyValueStore<byte[], byte[]> store;

    PaidMinutes(KeyValueStore<byte[], byte[]> store) {
        this.store = store;
    }

    /** Whether the account may pay this; if so, it is noted. */
    boolean accept(PaymentReader payment) {
        long minute = Math.floorDiv(payment.createdAtMs, MINUTE_MS);
        byte[] stored = store.get(payment.debitAccount);
        ByteBuffer minutes = stored == null ? null : ByteBuffer.wrap(stored);
        long newestBefore = minutes == null ? minute : minutes.getLong(0);
        int size = stored == null ? 0 : stored.length;
        long count = 1;
        long sumMinor = payment.amountMinor;
        for (int at = NEWEST_BYTES; at < size; at += BUCKET_BYTES) {
            long age = minute - (newestBefore - stored[at]);
            if (age >= 0 && age < WINDOW_MINUTES) {
                count += stored[at + 1] & 0xff;
                sumMinor += minutes.getInt(at + 2);
            }
        }
        if (count * SCORE_PER_PAYMENT + sumMinor / MINOR_PER_SCORE >= DECLINED_FROM) {
            return false;
        }
        store.put(payment.debitAccount, with(minutes, newestBefore, minute, (int) payment.amountMinor));
        return true;
    }

    private static byte[] with(ByteBuffer minutes, long newestBefore, long minute, int amountMinor) {
        long newest = Math.max(newestBefore, minute);
        int size = minutes == null ? NEWEST_BYTES : minutes.capacity();
        byte[] bytes = new byte[size + BUCKET_BYTES];
        ByteBuffer out = ByteBuffer.wrap(bytes).putLong(newest);
        boolean isCounted = false;
        for (int at = NEWEST_BYTES; at < size; at += BUCKET_BYTES) {
            long paid = newestBefore - minutes.get(at);
            int count = minutes.get(at + 1);
            int sum = minutes.getInt(at + 2);
            if (!isCounted && paid <= minute) {
                isCounted = true;
                if (paid == minute) {
                    count++;
                    sum += amountMinor;
                } else {
                    put(out, newest - minute, 1, amountMinor);
                }
            }
            if (newest - paid <= WINDOW_MINUTES) {
                put(out, newest - paid, count, sum);
            }
        }
        if (!isCounted) {
            put(out, newest - minute, 1, amountMinor);
        }
        return out.hasRemaining() ? java.util.Arrays.copyOf(bytes, out.position()) : bytes;
    }

    private static void put(ByteBuffer out, long age, int count, int sum) {
        out.put((byte) age).put((byte) count).putInt(sum);
    }
}
