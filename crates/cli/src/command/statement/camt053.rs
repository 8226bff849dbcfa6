//! A statement as ISO 20022 camt.053.001.08, the bank-to-customer statement.
//!
//! - `OPBD` and `CLBD` are the opening and the closing booked balance.
//! - `NtryRef` is the number of the entry. Holds and their ends move no money and are no entries here; so numbers are
//!   missing where the account had holds.
//! - `BookgDt` is the account's clock, `ValDt` the time of the payment.
//! - `BkTxCd` is proprietary: type of the payment and kind of the entry, `transfer.credit`.
//! - Ids that are longer than the 35 characters that the format has for them stand in `AddtlTxInf` as a whole.
//! - The message id is made from account and period, so that the same statement has the same id.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, Event};
use tidemill_core::EventTime;
use tidemill_core::money::decimal;
use tidemill_core::statement::{Statement, StatementEntry};

use crate::exit::{Exit, Failure};

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08";
const ACCOUNT_CHARACTERS_MAX: usize = 34;
const ID_CHARACTERS_MAX: usize = 35;
const AMOUNT_DIGITS_MAX: usize = 18;
/// Where a payment has no id that fits: the word that the standard asks for.
const NOT_PROVIDED: &str = "NOTPROVIDED";

type Xml = Writer<Vec<u8>>;

struct Context<'a> {
    statement: &'a Statement,
    exponent: u32,
    message_id: String,
    created_at: String,
}

pub(super) fn document(statement: &Statement, exponent: u32, created_at: EventTime) -> Result<String, Failure> {
    check_sizes(statement)?;
    let created_at = time(created_at);
    let context = Context { statement, exponent, message_id: message_id(statement), created_at };
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    let written = xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None))).and_then(|()| {
        let document = xml.create_element("Document").with_attribute(("xmlns", NAMESPACE));
        document.write_inner_content(|xml| group(xml, "BkToCstmrStmt", |xml| message(xml, &context)))?;
        Ok(())
    });
    written.map_err(|error| Failure::new(Exit::Findings, format!("camt.053: {error}")))?;
    let mut bytes = xml.into_inner();
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| Failure::new(Exit::Findings, format!("camt.053: {error}")))
}

/// What the format has no room for is refused, not cut.
fn check_sizes(statement: &Statement) -> Result<(), Failure> {
    let refused = |what: &str| Failure::new(Exit::Findings, format!("camt.053 cannot hold it: {what}"));
    if statement.account_id.chars().count() > ACCOUNT_CHARACTERS_MAX {
        return Err(refused("the name of the account has more than 34 characters"));
    }
    let amounts = statement.entries.iter().flat_map(|entry| [entry.amount_minor, entry.balance_after_minor]);
    let mut amounts = amounts.chain([statement.opening_minor, statement.closing_minor]);
    if amounts.any(|minor| minor.unsigned_abs().to_string().len() > AMOUNT_DIGITS_MAX) {
        return Err(refused("an amount has more than 18 digits"));
    }
    Ok(())
}

fn message(xml: &mut Xml, context: &Context<'_>) -> io::Result<()> {
    group(xml, "GrpHdr", |xml| {
        text(xml, "MsgId", &context.message_id)?;
        text(xml, "CreDtTm", &context.created_at)
    })?;
    group(xml, "Stmt", |xml| {
        let Statement { period, entries, .. } = context.statement;
        text(xml, "Id", &context.message_id)?;
        text(xml, "CreDtTm", &context.created_at)?;
        group(xml, "FrToDt", |xml| {
            text(xml, "FrDtTm", &time(period.from))?;
            text(xml, "ToDtTm", &time(period.until))
        })?;
        account(xml, context.statement)?;
        balance(xml, context, "OPBD", context.statement.opening_minor, period.from)?;
        let last_instant = EventTime(period.until.0 - 1);
        balance(xml, context, "CLBD", context.statement.closing_minor, last_instant)?;
        let booked = || entries.iter().filter(|entry| entry.amount_minor != 0);
        totals(xml, context, booked())?;
        booked().try_for_each(|booked| entry(xml, context, booked))
    })
}

fn account(xml: &mut Xml, statement: &Statement) -> io::Result<()> {
    group(xml, "Acct", |xml| {
        group(xml, "Id", |xml| group(xml, "Othr", |xml| text(xml, "Id", &statement.account_id)))?;
        text(xml, "Ccy", &statement.currency)
    })
}

fn balance(xml: &mut Xml, context: &Context<'_>, code: &str, minor: i64, at: EventTime) -> io::Result<()> {
    group(xml, "Bal", |xml| {
        group(xml, "Tp", |xml| group(xml, "CdOrPrtry", |xml| text(xml, "Cd", code)))?;
        amount(xml, context, minor)?;
        group(xml, "Dt", |xml| text(xml, "Dt", &day(at)))
    })
}

fn totals<'a>(
    xml: &mut Xml,
    context: &Context<'_>,
    booked: impl Iterator<Item = &'a StatementEntry> + Clone,
) -> io::Result<()> {
    let sum = |xml: &mut Xml, name: &str, is_counted: fn(i64) -> bool| {
        let counted = booked.clone().filter(|entry| is_counted(entry.amount_minor));
        let sum_minor: i128 = counted.clone().map(|entry| i128::from(entry.amount_minor).abs()).sum();
        group(xml, name, |xml| {
            text(xml, "NbOfNtries", &counted.count().to_string())?;
            text(xml, "Sum", &decimal(sum_minor, context.exponent))
        })
    };
    group(xml, "TxsSummry", |xml| {
        sum(xml, "TtlCdtNtries", |minor| minor > 0)?;
        sum(xml, "TtlDbtNtries", |minor| minor < 0)
    })
}

fn entry(xml: &mut Xml, context: &Context<'_>, entry: &StatementEntry) -> io::Result<()> {
    let fits = |id: &str| id.chars().count() <= ID_CHARACTERS_MAX;
    group(xml, "Ntry", |xml| {
        text(xml, "NtryRef", &entry.seq.to_string())?;
        amount(xml, context, entry.amount_minor)?;
        let is_reversal = entry.kind == "return" || entry.payment_type == "reverse";
        text(xml, "RvslInd", if is_reversal { "true" } else { "false" })?;
        group(xml, "Sts", |xml| text(xml, "Cd", "BOOK"))?;
        group(xml, "BookgDt", |xml| text(xml, "DtTm", &time(entry.booked_at)))?;
        group(xml, "ValDt", |xml| text(xml, "DtTm", &time(entry.event_time)))?;
        group(xml, "BkTxCd", |xml| {
            group(xml, "Prtry", |xml| text(xml, "Cd", &format!("{}.{}", entry.payment_type, entry.kind)))
        })?;
        group(xml, "NtryDtls", |xml| {
            group(xml, "TxDtls", |xml| {
                group(xml, "Refs", |xml| {
                    let id = if fits(&entry.payment_id) { &entry.payment_id } else { NOT_PROVIDED };
                    text(xml, "EndToEndId", id)
                })?;
                amount(xml, context, entry.amount_minor)?;
                if fits(&entry.payment_id) { Ok(()) } else { text(xml, "AddtlTxInf", &entry.payment_id) }
            })
        })
    })
}

/// The amount without its sign, and the sign in words. Nothing is a credit.
fn amount(xml: &mut Xml, context: &Context<'_>, minor: i64) -> io::Result<()> {
    let element = xml.create_element("Amt").with_attribute(("Ccy", context.statement.currency.as_str()));
    let magnitude = decimal(i128::from(minor).abs(), context.exponent);
    element.write_text_content(quick_xml::events::BytesText::new(&magnitude))?;
    text(xml, "CdtDbtInd", if minor < 0 { "DBIT" } else { "CRDT" })
}

fn group(xml: &mut Xml, name: &str, content: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<()> {
    xml.create_element(name).write_inner_content(content).map(drop)
}

fn text(xml: &mut Xml, name: &str, content: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(quick_xml::events::BytesText::new(content)).map(drop)
}

/// `20260101-20260201-` and a hash of all that the statement is of.
fn message_id(statement: &Statement) -> String {
    let Statement { account_id, period, .. } = statement;
    // FNV-1a: two statements of one day are told apart by it, and nobody gains by making them alike.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in format!("{account_id} {} {}", period.from.0, period.until.0).bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let compact = |at: EventTime| day(at).replace('-', "");
    format!("{}-{}-{hash:016x}", compact(period.from), compact(period.until))
}

fn day(at: EventTime) -> String {
    time(at).split('T').next().unwrap_or_default().to_owned()
}

/// RFC 3339 in UTC, which ISO 20022 takes.
fn time(at: EventTime) -> String {
    at.to_string()
}

#[cfg(test)]
mod tests {
    use tidemill_core::statement::{Finality, Period};

    use super::*;

    fn at(text: &str) -> EventTime {
        EventTime::parse(text).expect("RFC 3339")
    }

    fn entry(seq: i64, payment_id: &str, kind: &str, amount_minor: i64, balance_after_minor: i64) -> StatementEntry {
        StatementEntry {
            seq,
            booked_at: at("2026-01-31T12:00:00Z"),
            event_time: at("2026-01-30T23:59:59.5Z"),
            payment_id: payment_id.to_owned(),
            source: "bank".to_owned(),
            kind: kind.to_owned(),
            payment_type: "transfer".to_owned(),
            reference: None,
            contra_account_id: "in_transit.0.EUR".to_owned(),
            fee_schedule: None,
            amount_minor,
            balance_after_minor,
            hold_minor: 0,
            pending_after_minor: 0,
        }
    }

    fn statement() -> Statement {
        Statement {
            account_id: "acc <1> & Söhne".to_owned(),
            customer: None,
            currency: "EUR".to_owned(),
            period: Period { from: at("2026-01-01T00:00:00Z"), until: at("2026-02-01T00:00:00Z") },
            opening_minor: -150,
            closing_minor: 3_810,
            seq_before: 6,
            entries: vec![
                entry(7, "p-1", "credit", 8_000, 7_850),
                entry(8, "h-1", "hold", 0, 7_850),
                entry(9, "0f7a0be2-8f0e-4a6e-9b1f-3a7f5d9c1e42", "debit", -4_000, 3_850),
                entry(10, "0f7a0be2-8f0e-4a6e-9b1f-3a7f5d9c1e42", "fee", -40, 3_810),
            ],
            finality: Finality::Final,
        }
    }

    /// Accepted by `xmllint --schema camt.053.001.08.xsd`, with the schema of ISO 20022.
    #[test]
    fn a_statement_is_the_document_that_the_schema_accepts() {
        let statement = statement();
        statement.check().expect("adds up");
        let document = document(&statement, 2, at("2026-02-01T06:00:00Z")).expect("fits");
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/camt053.xml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file, &document).expect("can be written");
        }
        assert_eq!(document, std::fs::read_to_string(file).expect("make it with UPDATE_GOLDEN=1"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = Statement { account_id: "a".repeat(35), ..statement() };
        assert!(document(&long, 2, EventTime(0)).is_err());
        let large = Statement { opening_minor: i64::MIN, ..statement() };
        assert!(document(&large, 2, EventTime(0)).is_err());
        assert!(document(&Statement { account_id: "ä".repeat(34), ..statement() }, 2, EventTime(0)).is_ok());
    }
}
