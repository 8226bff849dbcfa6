//! Conditions on the ledger's own accounts, told by their names: a name says what an account is before its balance has
//! arrived, and nobody else can open one that begins so.

use tidemill_schemas::AccountKind;

/// Those that carry the other side of entries: what they change by is not all in entries of their own.
const UNNUMBERED: [AccountKind; 5] =
    [AccountKind::Fee, AccountKind::InTransit, AccountKind::FxPosition, AccountKind::FxSpread, AccountKind::Clearing];

/// Whether the column names an account of the kind, which must be one of the ledger's own.
pub(super) fn is_of_kind(column: &str, kind: AccountKind) -> String {
    let prefix = format!("{}.", kind.internal_name().unwrap_or_default());
    format!("substr({column}, 1, {}) = '{prefix}'", prefix.len())
}

/// Whether the column names an account whose entries are numbered without gaps.
pub(super) fn is_numbered(column: &str) -> String {
    let unnumbered = UNNUMBERED.map(|kind| is_of_kind(column, kind));
    format!("NOT ({})", unnumbered.join(" OR "))
}

/// The same, of a name at hand.
pub(super) fn numbers_entries(account_id: &str) -> bool {
    let first = account_id.split_once('.').map(|(first, _)| first);
    first.is_none() || UNNUMBERED.iter().all(|kind| kind.internal_name() != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_carry_the_other_side_number_nothing() {
        assert!(UNNUMBERED.iter().all(|kind| !kind.numbers_entries() && kind.internal_name().is_some()));
        let cases = [
            ("acc-1", true),
            ("clearing", true),
            ("clearings.0.EUR", true),
            ("suspense.0.EUR", true),
            ("clearing.0.EUR", false),
            ("fees.11.JPY", false),
        ];
        for (account_id, expected) in cases {
            assert_eq!(numbers_entries(account_id), expected, "{account_id}");
        }
        assert_eq!(is_of_kind("a", AccountKind::Fee), "substr(a, 1, 5) = 'fees.'");
    }
}
