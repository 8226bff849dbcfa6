package tidemill.bench.chain;

import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** Credits what an instruction says. */
final class CreditProcessor implements Processor<byte[], byte[], byte[], byte[]> {
    private final Progress progress;
    private final InstructionReader instruction = new InstructionReader();
    private final Output output = new Output();
    private ProcessorContext<byte[], byte[]> context;
    private Accounts accounts;

    CreditProcessor(Progress progress) {
        this.progress = progress;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        accounts = new Accounts(context.getStateStore(Accounts.STORE));
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        instruction.read(record.value());
        byte[] account = instruction.account;
        accounts.find(account);
        accounts.enter(instruction.amountMinor);
        accounts.keep(account);
        byte[] entry = output.entry(instruction.payment, account, Output.CREDIT, instruction.amountMinor, accounts.seq,
            accounts.postedMinor);
        context.forward(new Record<>(account, entry, record.timestamp()), ChainPeer.ENTRIES);
        byte[] balance = output.balance(account, accounts.postedMinor, accounts.seq);
        context.forward(new Record<>(account, balance, record.timestamp()), ChainPeer.BALANCES);
        progress.credited();
    }
}
