package tidemill.bench;

import java.nio.ByteBuffer;

/**
 * The job of the restart benchmark: a deposit changes an account, the account's new balance is written. The bytes are
 * those of `bench/src/restart/job.rs`; the reader of both engines' results checks that they agree.
 */
final class Account {
    /** Balance, sequence and last deposit, then the profile. */
    static final int BYTES = 24 + 20 * Long.BYTES;

    private static final int DEPOSIT_BYTES = 16;
    private static final int WIRE_HEADER_BYTES = 5;
    private static final int VARINT_BYTES_MAX = 10;

    private Account() {
    }

    /** The account after the deposit; {@code before} is null for one that has just been opened. */
    static byte[] after(byte[] before, byte[] deposit) {
        if (deposit == null || deposit.length != DEPOSIT_BYTES) {
            throw new IllegalArgumentException("a deposit has " + DEPOSIT_BYTES + " bytes");
        }
        ByteBuffer input = ByteBuffer.wrap(deposit);
        long number = input.getLong();
        long amount = input.getLong();
        byte[] bytes = before == null ? opened(number) : before.clone();
        ByteBuffer account = ByteBuffer.wrap(bytes);
        account.putLong(0, Math.addExact(account.getLong(0), amount));
        account.putLong(8, account.getLong(8) + 1);
        account.putLong(16, number);
        return bytes;
    }

    /** What is written: the Confluent wire format with an Avro datum, as the other engine writes it. */
    static byte[] balanceChanged(byte[] key, byte[] account) {
        ByteBuffer fields = ByteBuffer.wrap(account);
        ByteBuffer out = ByteBuffer.allocate(WIRE_HEADER_BYTES + key.length + 4 * VARINT_BYTES_MAX);
        out.put((byte) 0).putInt(0);
        putLong(out, key.length);
        out.put(key);
        putLong(out, fields.getLong(16));
        putLong(out, fields.getLong(8));
        putLong(out, fields.getLong(0));
        byte[] bytes = new byte[out.position()];
        out.flip().get(bytes);
        return bytes;
    }

    /** The profile stands for all that a real account holds; like that, it does not compress to nothing. */
    private static byte[] opened(long seed) {
        ByteBuffer account = ByteBuffer.allocate(BYTES);
        account.position(24);
        long state = seed;
        while (account.hasRemaining()) {
            state += 0x9e3779b97f4a7c15L;
            long word = state;
            word = (word ^ (word >>> 30)) * 0xbf58476d1ce4e5b9L;
            word = (word ^ (word >>> 27)) * 0x94d049bb133111ebL;
            account.putLong(word ^ (word >>> 31));
        }
        return account.array();
    }

    /** Avro's zigzag number of variable length. */
    private static void putLong(ByteBuffer out, long value) {
        long rest = (value << 1) ^ (value >> 63);
        while ((rest & ~0x7fL) != 0) {
            out.put((byte) ((rest & 0x7f) | 0x80));
            rest >>>= 7;
        }
        out.put((byte) rest);
    }
}
