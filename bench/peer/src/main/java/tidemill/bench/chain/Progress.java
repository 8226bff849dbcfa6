package tidemill.bench.chain;

import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;

/** What has been processed, whether it is committed or not. */
final class Progress {
    final AtomicLong firstReadMs = new AtomicLong();
    private final LongAdder payments = new LongAdder();
    private final LongAdder posted = new LongAdder();
    private final LongAdder credited = new LongAdder();

    void paid(boolean isPosted) {
        if (firstReadMs.getPlain() == 0) {
            firstReadMs.compareAndSet(0, System.currentTimeMillis());
        }
        payments.increment();
        if (isPosted) {
            posted.increment();
        }
    }

    void credited() {
        credited.increment();
    }

    long payments() {
        return payments.sum();
    }

    /** Instructions that were written and not carried out yet. */
    long underWay() {
        return posted.sum() - credited.sum();
    }
}
