package tidemill.bench.chain;

import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** Validate, deduplicate, score, charge, post: one processor, as one writes it for speed. */
final class PayProcessor implements Processor<byte[], byte[], byte[], byte[]> {
    private static final byte[] INVALID = Output.bytes("invalid");
    private static final byte[] DUPLICATE = Output.bytes("duplicate");
    private static final byte[] IDEMPOTENCY_CONFLICT = Output.bytes("idempotency_conflict");
    private static final byte[] FRAUD_DECLINED = Output.bytes("fraud_declined");
    private static final byte[] INSUFFICIENT_FUNDS = Output.bytes("insufficient_funds");

    private final Progress progress;
    private final PaymentReader payment = new PaymentReader();
    private final Output output = new Output();
    private ProcessorContext<byte[], byte[]> context;
    private SeenPayments seen;
    private PaidMinutes paid;
    private Accounts accounts;

    PayProcessor(Progress progress) {
        this.progress = progress;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        seen = new SeenPayments(context.getStateStore(SeenPayments.STORE));
        paid = new PaidMinutes(context.getStateStore(PaidMinutes.STORE));
        accounts = new Accounts(context.getStateStore(Accounts.STORE));
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        byte[] code = carryOut(record);
        if (code != null) {
            context.forward(new Record<>(payment.debitAccount, output.rejected(payment.id, code), record.timestamp()),
                ChainPeer.REJECTED);
        }
        progress.paid(code == null);
    }

    /** Null when it was posted, else the code of the rejection. */
    private byte[] carryOut(Record<byte[], byte[]> record) {
        if (!payment.read(record.value())) {
            return INVALID;
        }
        switch (seen.see(payment)) {
            case DUPLICATE:
                return DUPLICATE;
            case CONFLICT:
                return IDEMPOTENCY_CONFLICT;
            default:
                break;
        }
        if (!paid.accept(payment)) {
            return FRAUD_DECLINED;
        }
        long feeMinor = Fees.feeMinor(payment.amountMinor);
        byte[] debit = payment.debitAccount;
        accounts.find(debit);
        if (accounts.postedMinor < payment.amountMinor + feeMinor) {
            return INSUFFICIENT_FUNDS;
        }
        long time = payment.createdAtMs;
        enter(debit, Output.DEBIT, -payment.amountMinor, time);
        enter(debit, Output.FEE, -feeMinor, time);
        accounts.keep(debit);
        byte[] instruction = output.instruction(payment.id, payment.creditAccount, payment.amountMinor);
        context.forward(new Record<>(payment.creditAccount, instruction, time), ChainPeer.INSTRUCTIONS);
        byte[] balance = output.balance(debit, accounts.postedMinor, accounts.seq);
        context.forward(new Record<>(debit, balance, time), ChainPeer.BALANCES);
        return null;
    }

    private void enter(byte[] account, byte[] kind, long amountMinor, long time) {
        accounts.enter(amountMinor);
        byte[] entry = output.entry(payment.id, account, kind, amountMinor, accounts.seq, accounts.postedMinor);
        context.forward(new Record<>(account, entry, time), ChainPeer.ENTRIES);
    }
}
