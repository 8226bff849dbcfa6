package tidemill.bench.chain;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** A JSON text with something escaped in it, or something that is not ASCII: in UTF-8, and where its last quote stands. */
record Text(byte[] bytes, int end) {
    /** Reads on from {@code from}, up to which nothing is unusual. Null for what is not JSON. */
    static Text read(byte[] value, int start, int from) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(value, start, from - start);
        int at = from;
        while (at < value.length) {
            byte current = value[at++];
            if (current == '"') {
                byte[] bytes = out.toByteArray();
                return isUtf8(bytes) ? new Text(bytes, at - 1) : null;
            }
            if (current >= 0 && current < ' ') {
                return null;
            }
            if (current != '\\') {
                out.write(current);
                continue;
            }
            int next = escape(value, at, out);
            if (next < 0) {
                return null;
            }
            at = next;
        }
        return null;
    }

    /** Appends this text as JSON. */
    static byte[] escaped(byte[] text) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (byte current : text) {
            if (current == '"' || current == '\\') {
                out.write('\\');
                out.write(current);
            } else if (current >= 0 && current < ' ') {
                out.writeBytes(String.format("\\u%04x", current).getBytes(StandardCharsets.US_ASCII));
            } else {
                out.write(current);
            }
        }
        return out.toByteArray();
    }

    private static int escape(byte[] value, int at, ByteArrayOutputStream out) {
        if (at >= value.length) {
            return -1;
        }
        int plain = "\"\\/bfnrt".indexOf(value[at]);
        if (plain >= 0) {
            out.write("\"\\/\b\f\n\r\t".charAt(plain));
            return at + 1;
        }
        int first = value[at] == 'u' ? unit(value, at + 1) : -1;
        if (first < 0 || Character.isLowSurrogate((char) first)) {
            return -1;
        }
        if (!Character.isHighSurrogate((char) first)) {
            out.writeBytes(Character.toString(first).getBytes(StandardCharsets.UTF_8));
            return at + 5;
        }
        boolean isPair = at + 6 < value.length && value[at + 5] == '\\' && value[at + 6] == 'u';
        int second = isPair ? unit(value, at + 7) : -1;
        if (second < 0 || !Character.isLowSurrogate((char) second)) {
            return -1;
        }
        int point = Character.toCodePoint((char) first, (char) second);
        out.writeBytes(Character.toString(point).getBytes(StandardCharsets.UTF_8));
        return at + 11;
    }

    /** Four hexadecimal digits. */
    private static int unit(byte[] value, int at) {
        if (at + 4 > value.length) {
            return -1;
        }
        int unit = 0;
        for (byte digit : Arrays.copyOfRange(value, at, at + 4)) {
            int number = Character.digit(digit, 16);
            if (number < 0) {
                return -1;
            }
            unit = unit << 4 | number;
        }
        return unit;
    }

    private static boolean isUtf8(byte[] bytes) {
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
            return true;
        } catch (CharacterCodingException error) {
            return false;
        }
    }
}
