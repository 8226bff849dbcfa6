package tidemill.bench.chain;

import java.util.Arrays;

/** Reads instructions, which only {@link Output} writes, and holds the last one. */
final class InstructionReader {
    private static final byte[] PAYMENT = Output.bytes("{\"payment\":\"");
    private static final byte[] ACCOUNT = Output.bytes("\",\"account\":\"");
    private static final byte[] AMOUNT = Output.bytes("\",\"amount\":");

    byte[] payment;
    byte[] account;
    long amountMinor;

    private byte[] bytes;
    private int at;

    void read(byte[] value) {
        bytes = value;
        at = 0;
        expect(PAYMENT);
        payment = text();
        expect(ACCOUNT);
        account = text();
        expect(AMOUNT);
        amountMinor = 0;
        while (at < bytes.length - 1) {
            int digit = bytes[at++] - '0';
            if (digit < 0 || digit > 9) {
                throw unreadable();
            }
            amountMinor = amountMinor * 10 + digit;
        }
        if (at != bytes.length - 1 || bytes[at] != '}') {
            throw unreadable();
        }
    }

    /** Up to the quotation mark, which is left. */
    private byte[] text() {
        int start = at;
        while (at < bytes.length && bytes[at] != '"') {
            if (bytes[at] == '\\') {
                Text text = Text.read(bytes, start, at);
                if (text == null) {
                    throw unreadable();
                }
                at = text.end();
                return text.bytes();
            }
            at++;
        }
        return Arrays.copyOfRange(bytes, start, at);
    }

    private void expect(byte[] expected) {
        int end = at + expected.length;
        if (end > bytes.length || !Arrays.equals(bytes, at, end, expected, 0, expected.length)) {
            throw unreadable();
        }
        at = end;
    }

    private static IllegalStateException unreadable() {
        return new IllegalStateException("not an instruction");
    }
}
