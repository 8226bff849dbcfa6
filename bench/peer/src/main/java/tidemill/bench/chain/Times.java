package tidemill.bench.chain;

import java.time.LocalDate;

/** {@code created_at}, in the one form that the chain takes. */
final class Times {
    static final long NONE = Long.MIN_VALUE;

    private static final byte[] FORM = "0000-00-00T00:00:00.000Z".getBytes(java.nio.charset.StandardCharsets.US_ASCII);
    private static final int DATE_BYTES = 10;

    private Times() {
    }

    /** Milliseconds since 1970, or {@link #NONE} for any other form and for days and times that are not. */
    static long parseMillis(byte[] text) {
        if (text.length != FORM.length) {
            return NONE;
        }
        for (int at = 0; at < FORM.length; at++) {
            boolean isDigit = text[at] >= '0' && text[at] <= '9';
            if (FORM[at] == '0' ? !isDigit : text[at] != FORM[at]) {
                return NONE;
            }
        }
        int month = number(text, 5, 7);
        int day = number(text, 8, DATE_BYTES);
        int hour = number(text, 11, 13);
        int minute = number(text, 14, 16);
        int second = number(text, 17, 19);
        int year = number(text, 0, 4);
        if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 || day > days(year, month)) {
            return NONE;
        }
        return (((daysSince1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000L
            + number(text, 20, 23);
    }

    private static int number(byte[] text, int from, int to) {
        int number = 0;
        for (int at = from; at < to; at++) {
            number = number * 10 + text[at] - '0';
        }
        return number;
    }

    private static int days(int year, int month) {
        return switch (month) {
            case 2 -> LocalDate.of(year, 1, 1).isLeapYear() ? 29 : 28;
            case 4, 6, 9, 11 -> 30;
            default -> 31;
        };
    }

    /** Years begin in March, so that the leap day comes last. */
    private static long daysSince1970(int civilYear, int month, int day) {
        int year = month > 2 ? civilYear : civilYear - 1;
        int era = Math.floorDiv(year, 400);
        int yearOfEra = Math.floorMod(year, 400);
        int dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        return era * 146_097L + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468;
    }
}
