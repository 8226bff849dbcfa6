package tidemill.bench.chain;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Reads payments, strictly and in one pass, and holds the last one that was read. Texts are ranges of the value as long as
 * nothing in them is escaped, which is almost always.
 */
final class PaymentReader {
    private static final byte[][] NAMES = names("id", "source", "debit_account", "credit_account", "amount", "currency",
        "created_at", "channel", "description");
    private static final byte[][] MERCHANT_NAMES = names("id", "category", "country");
    private static final byte[] MERCHANT = "merchant".getBytes(StandardCharsets.US_ASCII);
    private static final byte[][] CURRENCIES = names("EUR", "USD", "GBP", "CHF", "SEK");
    private static final byte[] EMPTY = new byte[0];
    private static final int ID = 0;
    private static final int DEBIT_ACCOUNT = 2;
    private static final int CREDIT_ACCOUNT = 3;
    private static final int AMOUNT = 4;
    private static final int CURRENCY = 5;
    private static final int CREATED_AT = 6;
    private static final int FIRST_OF_MERCHANT = NAMES.length;
    private static final int WHOLE_DIGITS_MAX = 9;
    private static final int DEPTH_MAX = 64;
    private static final long FNV_OFFSET = 0xcbf29ce484222325L;
    private static final long FNV_PRIME = 0x100000001b3L;

    /** What was read: empty where it could not be. */
    byte[] id = EMPTY;
    byte[] debitAccount = EMPTY;
    byte[] creditAccount = EMPTY;
    long amountMinor;
    long createdAtMs;
    long valueHash;

    private final byte[][] texts = new byte[NAMES.length + MERCHANT_NAMES.length][];
    private final int[] starts = new int[texts.length];
    private final int[] ends = new int[texts.length];
    private byte[] bytes;
    private int at;
    private int textStart;
    private int textEnd;
    /** The last text, if something in it was escaped or not ASCII. */
    private byte[] unescaped;

    private static final class Unreadable extends RuntimeException {
        static final Unreadable INSTANCE = new Unreadable();

        private Unreadable() {
            super(null, null, false, false);
        }
    }

    /** Whether the value is a valid payment. */
    boolean read(byte[] value) {
        bytes = value == null ? EMPTY : value;
        at = 0;
        Arrays.fill(starts, -1);
        id = EMPTY;
        debitAccount = EMPTY;
        try {
            readPayment();
        } catch (Unreadable unreadable) {
            return false;
        }
        id = text(ID);
        debitAccount = text(DEBIT_ACCOUNT);
        if (!isValid()) {
            return false;
        }
        creditAccount = text(CREDIT_ACCOUNT);
        valueHash = hash(bytes);
        return true;
    }

    private boolean isValid() {
        for (int field = 0; field < starts.length; field++) {
            if (starts[field] < 0 || length(field) == 0) {
                return false;
            }
        }
        byte[] currency = text(CURRENCY);
        boolean isKnown = false;
        for (byte[] known : CURRENCIES) {
            isKnown |= Arrays.equals(known, currency);
        }
        amountMinor = amountMinor(text(AMOUNT));
        createdAtMs = Times.parseMillis(text(CREATED_AT));
        return isKnown && amountMinor > 0 && createdAtMs != Times.NONE
            && !Arrays.equals(debitAccount, text(CREDIT_ACCOUNT));
    }

    private void readPayment() {
        if (next() != '{') {
            throw Unreadable.INSTANCE;
        }
        readMembers(NAMES, 0, true);
        skipSpace();
        if (at != bytes.length) {
            throw Unreadable.INSTANCE;
        }
    }

    /** The rest of an object of which the brace has been read. Of a name that occurs twice, the last counts. */
    private void readMembers(byte[][] names, int first, boolean hasMerchant) {
        if (peek() == '}') {
            at++;
            return;
        }
        while (true) {
            readText();
            int field = indexOfName(names);
            boolean isMerchant = hasMerchant && field < 0 && isText(MERCHANT);
            if (next() != ':') {
                throw Unreadable.INSTANCE;
            }
            if (isMerchant && peek() == '{') {
                at++;
                readMembers(MERCHANT_NAMES, FIRST_OF_MERCHANT, false);
            } else if (field >= 0 && peek() == '"') {
                readText();
                keep(first + field);
            } else {
                skipValue(0);
                if (field >= 0) {
                    starts[first + field] = -1;
                }
            }
            int separator = next();
            if (separator == '}') {
                return;
            }
            if (separator != ',') {
                throw Unreadable.INSTANCE;
            }
        }
    }

    private void keep(int field) {
        starts[field] = textStart;
        ends[field] = textEnd;
        texts[field] = unescaped;
    }

    private int length(int field) {
        return texts[field] == null ? ends[field] - starts[field] : texts[field].length;
    }

    private byte[] text(int field) {
        if (starts[field] < 0) {
            return EMPTY;
        }
        return texts[field] == null ? Arrays.copyOfRange(bytes, starts[field], ends[field]) : texts[field];
    }

    private int indexOfName(byte[][] names) {
        for (int index = 0; index < names.length; index++) {
            if (isText(names[index])) {
                return index;
            }
        }
        return -1;
    }

    private boolean isText(byte[] expected) {
        if (unescaped != null) {
            return Arrays.equals(unescaped, expected);
        }
        return textEnd - textStart == expected.length
            && Arrays.equals(bytes, textStart, textEnd, expected, 0, expected.length);
    }

    private void readText() {
        if (next() != '"') {
            throw Unreadable.INSTANCE;
        }
        textStart = at;
        unescaped = null;
        for (int index = at; index < bytes.length; index++) {
            byte current = bytes[index];
            if (current == '"') {
                textEnd = index;
                at = index + 1;
                return;
            }
            if (current < ' ' || current == '\\') {
                // Bytes beyond ASCII are negative.
                readUnusualText(index);
                return;
            }
        }
        throw Unreadable.INSTANCE;
    }

    private void readUnusualText(int from) {
        Text text = Text.read(bytes, textStart, from);
        if (text == null) {
            throw Unreadable.INSTANCE;
        }
        unescaped = text.bytes();
        textEnd = text.end();
        at = text.end() + 1;
    }

    private void skipValue(int depth) {
        if (depth > DEPTH_MAX) {
            throw Unreadable.INSTANCE;
        }
        switch (peek()) {
            case '"' -> readText();
            case '{', '[' -> skipContainer(depth);
            case 't' -> skipWord("true");
            case 'f' -> skipWord("false");
            case 'n' -> skipWord("null");
            default -> skipNumber();
        }
    }

    private void skipContainer(int depth) {
        boolean isObject = next() == '{';
        int close = isObject ? '}' : ']';
        if (peek() == close) {
            at++;
            return;
        }
        while (true) {
            if (isObject) {
                readText();
                if (next() != ':') {
                    throw Unreadable.INSTANCE;
                }
            }
            skipValue(depth + 1);
            int separator = next();
            if (separator == close) {
                return;
            }
            if (separator != ',') {
                throw Unreadable.INSTANCE;
            }
        }
    }

    private void skipWord(String word) {
        for (int index = 0; index < word.length(); index++) {
            if (at >= bytes.length || bytes[at++] != word.charAt(index)) {
                throw Unreadable.INSTANCE;
            }
        }
    }

    private void skipNumber() {
        int start = at;
        while (at < bytes.length && "+-.eE0123456789".indexOf(bytes[at]) >= 0) {
            at++;
        }
        String number = new String(bytes, start, at - start, StandardCharsets.US_ASCII);
        if (!number.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
            throw Unreadable.INSTANCE;
        }
    }

    private int next() {
        int next = peek();
        at++;
        return next;
    }

    private int peek() {
        skipSpace();
        if (at >= bytes.length) {
            throw Unreadable.INSTANCE;
        }
        return bytes[at];
    }

    private void skipSpace() {
        while (at < bytes.length && (bytes[at] == ' ' || bytes[at] == '\n' || bytes[at] == '\t' || bytes[at] == '\r')) {
            at++;
        }
    }

    /** 0 for what is not an amount. */
    private static long amountMinor(byte[] text) {
        long minor = 0;
        int digits = 0;
        int index = 0;
        for (; index < text.length && text[index] != '.'; index++) {
            if (text[index] < '0' || text[index] > '9' || ++digits > WHOLE_DIGITS_MAX) {
                return 0;
            }
            minor = minor * 10 + text[index] - '0';
        }
        if (digits == 0) {
            return 0;
        }
        if (index == text.length) {
            return minor * 100;
        }
        int decimals = text.length - index - 1;
        if (decimals < 1 || decimals > 2) {
            return 0;
        }
        for (index++; index < text.length; index++) {
            if (text[index] < '0' || text[index] > '9') {
                return 0;
            }
            minor = minor * 10 + text[index] - '0';
        }
        return decimals == 1 ? minor * 10 : minor;
    }

    private static long hash(byte[] value) {
        long hash = FNV_OFFSET;
        for (byte current : value) {
            hash = (hash ^ (current & 0xff)) * FNV_PRIME;
        }
        return hash;
    }

    private static byte[][] names(String... names) {
        return Arrays.stream(names).map(name -> name.getBytes(StandardCharsets.US_ASCII)).toArray(byte[][]::new);
    }
}
