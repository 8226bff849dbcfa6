//! Settings of the Postgres sink.

use std::str::FromStr;

use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tidemill_core::Settings;
use tidemill_core::settings::SettingsError;

const URL_EXAMPLE: &str = "write postgres://user:${PASSWORD}@host:5432/database";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: String,
    #[serde(default = "connect_timeout_ms")]
    connect_timeout_ms: u64,
    #[serde(default = "request_timeout_ms")]
    request_timeout_ms: u64,
    #[serde(default = "statement_rows_max")]
    statement_rows_max: usize,
    colour: Option<String>,
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn request_timeout_ms() -> u64 {
    30_000
}

fn statement_rows_max() -> usize {
    5_000
}

/// Holds a password: neither printable nor part of any message.
pub(super) struct Config {
    pub(super) options: PgConnectOptions,
    /// `host:port/database`.
    pub(super) endpoint: String,
    pub(super) database: String,
    pub(super) connect_timeout_ms: u64,
    /// Longest time one batch may take.
    pub(super) request_timeout_ms: u64,
    /// Rows of one statement; more are split.
    pub(super) statement_rows_max: usize,
    /// Schema of the tables; `None` is where the server puts them.
    pub(super) schema: Option<String>,
}

pub(super) fn read(settings: &Settings) -> Result<Config, Vec<SettingsError>> {
    let raw: Raw = settings.parse()?;
    let mut errors = Vec::new();
    if raw.connect_timeout_ms == 0 {
        errors.push(SettingsError::new("connect_timeout_ms", "must be at least 1").hint("5000 is the default"));
    }
    if raw.request_timeout_ms == 0 {
        errors.push(SettingsError::new("request_timeout_ms", "must be at least 1").hint("30000 is the default"));
    }
    if raw.statement_rows_max == 0 {
        errors.push(SettingsError::new("statement_rows_max", "must be at least 1").hint("5000 is the default"));
    }
    let options = parse_url(&raw.url).map_err(|error| errors.push(error)).ok();
    if raw.colour.as_deref().is_some_and(|colour| !is_schema(colour)) {
        errors.push(SettingsError::new("colour", "is not lowercase letters and digits").hint("`reprocess` sets it"));
    }
    let (Some(options), true) = (options, errors.is_empty()) else {
        return Err(errors);
    };
    let options = match &raw.colour {
        Some(schema) => options.options([("search_path", schema.as_str())]),
        None => options,
    };
    let database = options.get_database().unwrap_or(options.get_username()).to_owned();
    Ok(Config {
        endpoint: format!("{}:{}/{database}", options.get_host(), options.get_port()),
        database,
        // The server gives up a little after the client has, so that a lost connection holds no lock for long.
        options: options.application_name("tidemill").options([
            ("statement_timeout", raw.request_timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", raw.request_timeout_ms.to_string()),
        ]),
        connect_timeout_ms: raw.connect_timeout_ms,
        request_timeout_ms: raw.request_timeout_ms,
        statement_rows_max: raw.statement_rows_max,
        schema: raw.colour,
    })
}

/// Stands in statements as it is.
fn is_schema(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase()) && text.bytes().all(is_word)
}

/// The parser's own message is left out, because it may quote the password.
fn parse_url(url: &str) -> Result<PgConnectOptions, SettingsError> {
    let wrong = |message: &str| SettingsError::new("url", message).hint(URL_EXAMPLE);
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong("is not a Postgres URL"));
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| wrong("is not a Postgres URL"))?;
    match options.get_ssl_mode() {
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => Ok(options),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => {
            Err(SettingsError::new("url", "asks for TLS by sslmode, which this build cannot do")
                .hint("reach the server through a local proxy that speaks TLS, or leave sslmode out"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(toml: &str) -> String {
        let errors = read(&Settings(toml::from_str(toml).expect("is TOML"))).err().unwrap_or_default();
        errors.iter().map(|error| format!("{}: {} ({:?})\n", error.key, error.message, error.hint)).collect()
    }

    #[test]
    fn findings_name_the_key_and_never_the_password() {
        let cases = [
            ("url = 'postgres://u:s3cret@h/d'", ""),
            ("url = 'postgres://u:s3cret@h:99999/d'", "url: "),
            ("url = 'mysql://u:s3cret@h/d'", "url: is not a Postgres URL"),
            ("url = 's3cret'", "url: is not a Postgres URL"),
            ("url = 'postgres://u:s3cret@h/d?sslmode=require'", "url: asks for TLS"),
            ("url = 'postgres://h/d'\nstatement_rows_max = 0", "statement_rows_max: "),
            ("url = 'postgres://h/d'\ncolour = 'a; DROP'", "colour: "),
            ("url = 'postgres://h/d'\nurll = 's3cret'", "urll: unknown field"),
            ("", ": missing field `url`"),
        ];
        for (toml, expected) in cases {
            let found = findings(toml);
            assert!(found.starts_with(expected), "{toml}: {found}");
            assert!(expected.is_empty() == found.is_empty(), "{toml}: {found}");
            assert!(!found.contains("s3cret"), "{toml}: {found}");
        }
    }
}
