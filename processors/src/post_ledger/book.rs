//! The accounts one record touches: lines are posted here and written all together, or not at all.

use tidemill_core::{Context, EventTime, Meta, Reject, State, StateError};
use tidemill_schemas::{EntryKind, LedgerEntry, PaymentBody, PaymentType, PostingDates};

use super::accounts::{ACCOUNTS, Account, CurrencyCode, Internal};
use super::codes::LEDGER_UNBALANCED;

/// What all lines of one record have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voucher<'a> {
    pub(super) task: u32,
    pub(super) payment_type: PaymentType,
    pub(super) payment_id: &'a str,
    pub(super) source: &'a str,
    pub(super) reference: Option<&'a str>,
    pub(super) currency: &'a str,
    /// What the fee was priced by; only its entries say so.
    pub(super) fee_schedule: Option<&'a str>,
    pub(super) event_time: EventTime,
    pub(super) dates: Option<PostingDates>,
}

impl<'a> Voucher<'a> {
    pub(super) fn of(payment: &'a PaymentBody, task: u32) -> Self {
        Self {
            task,
            payment_type: payment.payment_type,
            payment_id: &payment.payment_id,
            source: &payment.source,
            reference: payment.reference.as_deref(),
            currency: &payment.currency,
            fee_schedule: None,
            event_time: payment.created_at,
            dates: None,
        }
    }
}

/// An account in a [`Book`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(usize);

/// One journal line: `account` changes by `amount_minor`, `contra` by the opposite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) account: Slot,
    pub(super) contra: Slot,
    pub(super) kind: EntryKind,
    pub(super) amount_minor: i128,
    /// Change of what `account` has set aside.
    pub(super) hold_minor: i64,
    pub(super) leg_no: i32,
}

impl Line {
    /// A line of one leg that leaves holds alone.
    pub(super) fn of(kind: EntryKind, account: Slot, contra: Slot, amount_minor: i64, leg_no: i32) -> Self {
        Self { account, contra, kind, amount_minor: i128::from(amount_minor), hold_minor: 0, leg_no }
    }
}

/// A balance would leave 64 bits. The book that says so must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

#[derive(Debug)]
pub(super) struct Book<'a> {
    voucher: Voucher<'a>,
    fee_schedule: Option<String>,
    quote: Option<String>,
    touched: Vec<Touched>,
    entries: Vec<LedgerEntry>,
}

#[derive(Debug)]
struct Touched {
    id: String,
    account: Account,
    posted_before_minor: i64,
}

impl<'a> Book<'a> {
    pub(super) fn new(voucher: Voucher<'a>) -> Self {
        let fee_schedule = voucher.fee_schedule.map(str::to_owned);
        Self { voucher, fee_schedule, quote: None, touched: Vec::with_capacity(4), entries: Vec::with_capacity(2) }
    }

    /// What fees were priced by, where the voucher does not say.
    pub(super) fn set_fee_schedule(&mut self, fee_schedule: String) {
        self.fee_schedule = Some(fee_schedule);
    }

    /// What an exchange goes by. Every entry says so.
    pub(super) fn set_quote(&mut self, quote: &str) {
        self.quote = Some(quote.to_owned());
    }

    pub(super) fn add(&mut self, id: String, account: Account) -> Slot {
        self.touched.push(Touched { id, posted_before_minor: account.posted_minor, account });
        Slot(self.touched.len() - 1)
    }

    /// An internal account of the task, opened on first use.
    pub(super) fn add_internal(&mut self, internal: Internal, state: &mut dyn State) -> Result<Slot, StateError> {
        self.add_internal_in(internal, self.voucher.currency, state)
    }

    /// The same in another currency than that of the voucher.
    pub(super) fn add_internal_in(
        &mut self,
        internal: Internal,
        currency: &str,
        state: &mut dyn State,
    ) -> Result<Slot, StateError> {
        let Voucher { task, event_time, .. } = self.voucher;
        let id = internal.id(task, currency);
        let account = ACCOUNTS
            .get(state, id.as_bytes())?
            .unwrap_or_else(|| Account::open(internal.kind(), CurrencyCode::new(currency), 0, event_time));
        Ok(self.add(id, account))
    }

    pub(super) fn account(&self, slot: Slot) -> &Account {
        &self.touched[slot.0].account
    }

    pub(super) fn account_mut(&mut self, slot: Slot) -> &mut Account {
        &mut self.touched[slot.0].account
    }

    /// Posts one line and writes its entry. Numbers the change on both accounts.
    pub(super) fn post(&mut self, line: Line) -> Result<(), Overflow> {
        self.change(line.account, line.amount_minor, line.hold_minor)?;
        self.change(line.contra, -line.amount_minor, 0)?;
        let contra = self.touched[line.contra.0].id.clone();
        self.write_entry(line.account, line.kind, [line.amount_minor, i128::from(line.hold_minor)], contra, line.leg_no)
    }

    /// Sets money aside for `payee`, or gives it free again, and writes the entry: no money moves.
    pub(super) fn set_aside(&mut self, slot: Slot, hold_minor: i64, payee: &str) -> Result<(), Overflow> {
        let kind = if hold_minor > 0 { EntryKind::Hold } else { EntryKind::Release };
        self.change(slot, 0, hold_minor)?;
        self.write_entry(slot, kind, [0, i128::from(hold_minor)], payee.to_owned(), 1)
    }

    fn change(&mut self, slot: Slot, amount_minor: i128, hold_minor: i64) -> Result<(), Overflow> {
        let account = &mut self.touched[slot.0].account;
        let posted = i128::from(account.posted_minor).checked_add(amount_minor).ok_or(Overflow)?;
        account.posted_minor = i64::try_from(posted).map_err(|_| Overflow)?;
        account.pending_minor = account.pending_minor.checked_add(hold_minor).ok_or(Overflow)?;
        account.seq = account.seq.checked_add(1).ok_or(Overflow)?;
        account.last_event_time = account.last_event_time.max(self.voucher.event_time);
        Ok(())
    }

    fn write_entry(
        &mut self,
        slot: Slot,
        kind: EntryKind,
        [amount_minor, hold_minor]: [i128; 2],
        contra_account_id: String,
        leg_no: i32,
    ) -> Result<(), Overflow> {
        let Touched { id, account, .. } = &self.touched[slot.0];
        self.entries.push(LedgerEntry {
            meta: Meta::default(),
            account_id: id.clone(),
            seq: account.seq,
            payment_id: self.voucher.payment_id.to_owned(),
            source: self.voucher.source.to_owned(),
            kind,
            amount_minor: i64::try_from(amount_minor).map_err(|_| Overflow)?,
            currency: account.currency.as_str().to_owned(),
            balance_after_minor: account.posted_minor,
            contra_account_id,
            leg_no,
            fee_schedule: self.fee_schedule.clone().filter(|_| kind == EntryKind::Fee),
            event_time: self.voucher.event_time,
            payment_type: self.voucher.payment_type,
            reference: self.voucher.reference.map(str::to_owned),
            hold_minor: i64::try_from(hold_minor).map_err(|_| Overflow)?,
            pending_after_minor: account.pending_minor,
            quote: self.quote.clone(),
            booking_date: self.voucher.dates.map(|dates| dates.booking_date),
            value_date: self.voucher.dates.map(|dates| dates.value_date),
        });
        Ok(())
    }

    /// Writes accounts, entries and balances, after a last look at whether they add up.
    pub(super) fn write(self, context: &mut Context<'_>) -> Result<(), Reject> {
        if !self.is_balanced() {
            return Err(Reject::new(&LEDGER_UNBALANCED));
        }
        if self.touched.iter().any(|touched| touched.account.pending_minor < 0) {
            return Err(Reject::new(&LEDGER_UNBALANCED).because("more would be released than is held"));
        }
        for entry in self.entries {
            context.effects.emit("entries", Box::new(entry) as tidemill_core::AnyEvent);
        }
        for Touched { id, account, .. } in self.touched {
            write_account(&id, &account, context)?;
        }
        Ok(())
    }

    /// Whether the changes of all accounts of each currency cancel out. Looks at the balances alone, not at the lines
    /// that changed them, so that a mistake in posting cannot hide itself.
    fn is_balanced(&self) -> bool {
        self.touched.iter().all(|first| {
            let same_currency = self.touched.iter().filter(|other| other.account.currency == first.account.currency);
            let changes = same_currency
                .map(|other| i128::from(other.account.posted_minor) - i128::from(other.posted_before_minor));
            changes.sum::<i128>() == 0
        })
    }
}

/// Writes an account, and its balance for readers.
pub(super) fn write_account(id: &str, account: &Account, context: &mut Context<'_>) -> Result<(), StateError> {
    ACCOUNTS.put(context.state, id.as_bytes(), account)?;
    context.effects.emit_latest("balances", Box::new(account.balance(id)) as tidemill_core::AnyEvent);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidemill_schemas::AccountKind;

    use super::*;

    fn book() -> (Book<'static>, Slot, Slot) {
        let event_time = EventTime::EARLIEST;
        let voucher = Voucher {
            task: 0,
            payment_type: PaymentType::Transfer,
            payment_id: "p",
            source: "s",
            reference: None,
            currency: "EUR",
            fee_schedule: None,
            event_time,
            dates: None,
        };
        let mut book = Book::new(voucher);
        let open = || Account::open(AccountKind::Customer, CurrencyCode::new("EUR"), 0, event_time);
        let account = book.add("a".to_owned(), open());
        let contra = book.add("b".to_owned(), open());
        (book, account, contra)
    }

    fn line(account: Slot, contra: Slot, amount_minor: i128) -> Line {
        Line { account, contra, kind: EntryKind::Debit, amount_minor, hold_minor: 0, leg_no: 1 }
    }

    #[test]
    fn lines_balance_and_a_tampered_balance_is_seen() {
        let (mut book, account, contra) = book();
        book.post(line(account, contra, -5)).expect("in range");
        assert!(book.is_balanced());
        book.touched[1].account.posted_minor += 1;
        assert!(!book.is_balanced());
    }

    #[test]
    fn two_currencies_never_cancel_out() {
        let (mut book, account, contra) = book();
        book.post(line(account, contra, -5)).expect("in range");
        book.touched[1].account.currency = CurrencyCode::new("JPY");
        assert!(!book.is_balanced());
    }

    #[test]
    fn balances_stay_within_64_bits() {
        let (mut book, account, contra) = book();
        book.post(line(account, contra, -i128::from(i64::MAX))).expect("in range");
        assert_eq!(book.post(line(account, contra, -2)), Err(Overflow), "the account would go below the range");
        let (mut book, account, contra) = self::book();
        book.post(line(account, contra, -i128::from(i64::MAX))).expect("in range");
        assert_eq!(book.post(line(account, contra, -1)), Err(Overflow), "the contra account would go above the range");
    }
}
