package tidemill.bench.chain;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Writes the values of the chain's topics: JSON, always with the same fields in the same order. One for each thread. */
final class Output {
    private static final byte[] PAYMENT = bytes("{\"payment\":\"");
    private static final byte[] ACCOUNT = bytes("\",\"account\":\"");
    private static final byte[] FIRST_ACCOUNT = bytes("{\"account\":\"");
    private static final byte[] SEQ_AFTER_TEXT = bytes("\",\"seq\":");
    private static final byte[] SEQ = bytes(",\"seq\":");
    private static final byte[] AMOUNT_AFTER_TEXT = bytes("\",\"amount\":");
    private static final byte[] BALANCE = bytes(",\"balance\":");
    private static final byte[] POSTED = bytes("\",\"posted\":");
    private static final byte[] CODE = bytes("\",\"code\":\"");
    private static final byte[] END_OF_TEXT = bytes("\"}");
    private static final int NUMBER_BYTES_MAX = 20;

    static final byte[] DEBIT = bytes(",\"kind\":\"debit\",\"amount\":");
    static final byte[] FEE = bytes(",\"kind\":\"fee\",\"amount\":");
    static final byte[] CREDIT = bytes(",\"kind\":\"credit\",\"amount\":");

    private byte[] buffer = new byte[256];
    private int length;

    byte[] entry(byte[] payment, byte[] account, byte[] kind, long amountMinor, long seq, long balanceMinor) {
        length = 0;
        put(PAYMENT);
        putText(payment);
        put(ACCOUNT);
        putText(account);
        put(SEQ_AFTER_TEXT);
        putNumber(seq);
        put(kind);
        putNumber(amountMinor);
        put(BALANCE);
        putNumber(balanceMinor);
        return end();
    }

    byte[] instruction(byte[] payment, byte[] account, long amountMinor) {
        length = 0;
        put(PAYMENT);
        putText(payment);
        put(ACCOUNT);
        putText(account);
        put(AMOUNT_AFTER_TEXT);
        putNumber(amountMinor);
        return end();
    }

    byte[] balance(byte[] account, long postedMinor, long seq) {
        length = 0;
        put(FIRST_ACCOUNT);
        putText(account);
        put(POSTED);
        putNumber(postedMinor);
        put(SEQ);
        putNumber(seq);
        return end();
    }

    byte[] rejected(byte[] payment, byte[] code) {
        length = 0;
        put(PAYMENT);
        putText(payment);
        put(CODE);
        put(code);
        put(END_OF_TEXT);
        return Arrays.copyOf(buffer, length);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    private byte[] end() {
        reserve(1);
        buffer[length++] = '}';
        return Arrays.copyOf(buffer, length);
    }

    private void putText(byte[] text) {
        for (byte current : text) {
            if (current == '"' || current == '\\' || (current >= 0 && current < ' ')) {
                put(Text.escaped(text));
                return;
            }
        }
        put(text);
    }

    private void put(byte[] text) {
        reserve(text.length);
        System.arraycopy(text, 0, buffer, length, text.length);
        length += text.length;
    }

    private void putNumber(long number) {
        reserve(NUMBER_BYTES_MAX);
        if (number < 0) {
            buffer[length++] = '-';
        }
        // Negative numbers reach further than positive ones.
        long rest = number < 0 ? number : -number;
        int digits = 1;
        for (long bound = rest / 10; bound != 0; bound /= 10) {
            digits++;
        }
        for (int at = length + digits - 1; at >= length; at--) {
            buffer[at] = (byte) ('0' - rest % 10);
            rest /= 10;
        }
        length += digits;
    }

    private void reserve(int more) {
        if (length + more > buffer.length) {
            buffer = Arrays.copyOf(buffer, Math.max(buffer.length * 2, length + more));
        }
    }
}
