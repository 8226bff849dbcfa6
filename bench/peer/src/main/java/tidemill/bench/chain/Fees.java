package tidemill.bench.chain;

/** 1 % to 100.00, 0.5 % to 1,000.00, 0.1 % beyond; half-even to a minor unit, at least 0.10, at most 25.00. */
final class Fees {
    private static final long FIRST_PART_MINOR = 10_000;
    private static final long SECOND_PART_MINOR = 100_000;
    private static final long FEE_MINOR_MIN = 10;
    private static final long FEE_MINOR_MAX = 2_500;

    private Fees() {
    }

    static long feeMinor(long amountMinor) {
        long first = Math.min(amountMinor, FIRST_PART_MINOR);
        long second = Math.min(amountMinor, SECOND_PART_MINOR) - first;
        long thousandths = first * 10 + second * 5 + (amountMinor - first - second);
        long quotient = thousandths / 1_000;
        long rest = thousandths % 1_000;
        if (rest > 500 || (rest == 500 && quotient % 2 == 1)) {
            quotient++;
        }
        return Math.min(Math.max(quotient, FEE_MINOR_MIN), FEE_MINOR_MAX);
    }
}
