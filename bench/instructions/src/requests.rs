//! What upstream systems send: accounts, and ordinary payments between them, the same each time.

pub(crate) const PAYMENTS: u64 = 1_000;
const PAYERS: u64 = 200;
const SHOPS: u64 = 40;
/// 2026-01-05T08:00:00Z.
const FIRST_CREATED_AT_MS: i64 = 1_767_600_000_000;
const ACCOUNTS_CREATED_AT: &str = "2026-01-05T07:00:00Z";

/// A record of an ingest topic.
pub(crate) struct Request {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp_ms: i64,
}

pub(crate) fn accounts() -> Vec<Request> {
    let open = |account: String, kind: &str| {
        Request {
        value: format!(
            r#"{{"id":"open-{account}","source":"bank-a","type":"open","account":"{account}","customer":"cust-{account}","currency":"EUR","kind":"{kind}","limit":"20000.00","created_at":"{ACCOUNTS_CREATED_AT}"}}"#
        )
        .into_bytes(),
        key: account.into_bytes(),
        timestamp_ms: FIRST_CREATED_AT_MS - 3_600_000,
    }
    };
    let payers = (0..PAYERS).map(|number| open(payer(number), "customer"));
    payers.chain((0..SHOPS).map(|number| open(shop(number), "merchant"))).collect()
}

pub(crate) fn payments() -> Vec<Request> {
    (0..PAYMENTS).map(payment).collect()
}

/// A payment a second, each payer's turn after all others.
fn payment(number: u64) -> Request {
    let (debit_account, shop_number) = (payer(number % PAYERS), number * 7 % SHOPS);
    let credit_account = shop(shop_number);
    let (minutes, seconds) = (number / 60, number % 60);
    let value = format!(
        r#"{{"id":"p-{number:09}","source":"bank-a","type":"transfer","debit_account":"{debit_account}","credit_account":"{credit_account}","amount":"{}.{:02}","currency":"EUR","created_at":"2026-01-05T08:{minutes:02}:{seconds:02}Z","channel":"card","merchant":{{"id":"m-{shop_number:05}","category":"groceries","country":"DE"}},"customer":"cust-{debit_account}","description":"Order {number}"}}"#,
        1 + number % 40,
        number % 100,
    );
    Request {
        key: debit_account.into_bytes(),
        value: value.into_bytes(),
        timestamp_ms: FIRST_CREATED_AT_MS + i64::try_from(number).unwrap_or_default() * 1_000,
    }
}

fn payer(number: u64) -> String {
    format!("acc-{number:06}")
}

fn shop(number: u64) -> String {
    format!("shop-{number:05}")
}
