//! Questions to the tables as they were at one moment, in words that both databases understand.

use std::str::FromStr;

use tidemill_core::SinkError;

pub(crate) trait Snapshot {
    type Failure: From<SinkError>;

    /// Rows of text columns, none of them NULL. `parameter` is bound to `$1`, if the query has one.
    async fn ask(&mut self, sql: String, parameter: Option<&str>) -> Result<Vec<Vec<String>>, Self::Failure>;
}

pub(super) fn columns<const N: usize>(row: Vec<String>) -> Result<[String; N], SinkError> {
    row.try_into().map_err(|row: Vec<String>| unexpected(&format!("{} columns instead of {N}", row.len())))
}

pub(super) fn number<N: FromStr>(text: &str) -> Result<N, SinkError> {
    text.parse().map_err(|_| unexpected("something else than a whole number"))
}

pub(super) fn unexpected(what: &str) -> SinkError {
    SinkError::Misconfigured(format!("a question was answered with {what}; the tables are not those of the migrations"))
}
