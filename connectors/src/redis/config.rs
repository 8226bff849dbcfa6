//! Settings of the Redis sink.

use redis::{Client, ErrorKind};
use serde::Deserialize;
use tidemill_core::Settings;
use tidemill_core::settings::SettingsError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: String,
    #[serde(default)]
    key_prefix: String,
    #[serde(default = "connect_timeout_ms")]
    connect_timeout_ms: u64,
    #[serde(default = "request_timeout_ms")]
    request_timeout_ms: u64,
    #[serde(default = "script_records_max")]
    script_records_max: usize,
    colour: Option<String>,
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn request_timeout_ms() -> u64 {
    10_000
}

fn script_records_max() -> usize {
    500
}

/// Holds a password: neither printable nor part of any message.
pub(super) struct Config {
    pub(super) client: Client,
    /// `host:port`.
    pub(super) endpoint: String,
    /// Before every key, so that several pipelines can share a Redis.
    pub(super) key_prefix: String,
    /// Names the key that holds the prefix of the pipeline that is live.
    pub(super) pointer_key: String,
    pub(super) has_colour: bool,
    pub(super) connect_timeout_ms: u64,
    pub(super) request_timeout_ms: u64,
    /// Balances per script run. Redis answers nobody else while a script runs.
    pub(super) script_records_max: usize,
}

pub(super) fn read(settings: &Settings) -> Result<Config, Vec<SettingsError>> {
    let raw: Raw = settings.parse()?;
    let mut errors = Vec::new();
    if raw.connect_timeout_ms == 0 {
        errors.push(SettingsError::new("connect_timeout_ms", "must be at least 1").hint("5000 is the default"));
    }
    if raw.request_timeout_ms == 0 {
        errors.push(SettingsError::new("request_timeout_ms", "must be at least 1").hint("10000 is the default"));
    }
    if raw.script_records_max == 0 {
        errors.push(SettingsError::new("script_records_max", "must be at least 1").hint("500 is the default"));
    }
    let client = open_client(&raw.url).map_err(|error| errors.push(error)).ok();
    let (Some(client), true) = (client, errors.is_empty()) else {
        return Err(errors);
    };
    Ok(Config {
        endpoint: client.get_connection_info().addr().to_string(),
        client,
        pointer_key: format!("{}live", raw.key_prefix),
        has_colour: raw.colour.is_some(),
        key_prefix: match &raw.colour {
            Some(colour) => format!("{}{colour}:", raw.key_prefix),
            None => raw.key_prefix,
        },
        connect_timeout_ms: raw.connect_timeout_ms,
        request_timeout_ms: raw.request_timeout_ms,
        script_records_max: raw.script_records_max,
    })
}

/// The parser's own message is left out, because it may quote the password.
fn open_client(url: &str) -> Result<Client, SettingsError> {
    if url.starts_with("rediss://") {
        return Err(SettingsError::new("url", "asks for TLS, which this build cannot do")
            .hint("reach the server through a local proxy that speaks TLS, and write redis://"));
    }
    Client::open(url).map_err(|error| {
        let message = match error.kind() {
            ErrorKind::InvalidClientConfig => "is not a Redis URL",
            _ => "cannot be used",
        };
        SettingsError::new("url", message).hint("write redis://user:${PASSWORD}@host:6379/0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_the_key_and_never_the_password() {
        let cases = [
            ("url = 'redis://u:s3cret@h:6379/1'", ""),
            ("url = 'redis://u:s3cret@h:99999'", "url: "),
            ("url = 'rediss://u:s3cret@h'", "url: asks for TLS"),
            ("url = 's3cret'", "url: "),
            ("url = 'redis://h'\nscript_records_max = 0", "script_records_max: "),
            ("url = 'redis://h'\nprefix = 's3cret'", "prefix: unknown field"),
        ];
        for (toml, expected) in cases {
            let errors = read(&Settings(toml::from_str(toml).expect("is TOML"))).err().unwrap_or_default();
            let found: String =
                errors.iter().map(|error| format!("{}: {} ({:?})\n", error.key, error.message, error.hint)).collect();
            assert!(found.starts_with(expected), "{toml}: {found}");
            assert!(expected.is_empty() == found.is_empty(), "{toml}: {found}");
            assert!(!found.contains("s3cret"), "{toml}: {found}");
        }
    }
}
