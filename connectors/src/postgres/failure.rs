//! What an error of the database means for the sink.

use sqlx::migrate::MigrateError;
use tidemill_core::SinkError;

/// Why a statement or a connection failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A value was refused; which record it was in is not known yet. Holds the SQLSTATE.
    Value(String),
    /// The database of the URL does not exist.
    NoDatabase,
    Sink(SinkError),
}

impl Failure {
    pub(super) fn into_sink_error(self, endpoint: &str) -> SinkError {
        match self {
            Self::Value(state) => misconfigured(endpoint, &format!("refused a statement with SQLSTATE {state}")),
            Self::NoDatabase => misconfigured(endpoint, "has no such database; run `tidemill apply`"),
            Self::Sink(SinkError::Unavailable(message)) => {
                SinkError::Unavailable(format!("Postgres at {endpoint}: {message}"))
            }
            Self::Sink(SinkError::Misconfigured(message)) => misconfigured(endpoint, &message),
            Self::Sink(error) => error,
        }
    }
}

fn misconfigured(endpoint: &str, message: &str) -> SinkError {
    SinkError::Misconfigured(format!("Postgres at {endpoint}: {message}"))
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let state = error.code().unwrap_or_default().into_owned();
                by_state(&state, error.message())
            }
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
                Self::Sink(SinkError::Unavailable(error.to_string()))
            }
            _ => Self::Sink(SinkError::Misconfigured(error.to_string())),
        }
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            _ => Self::Sink(SinkError::Misconfigured(format!(
                "the tables do not fit this version of Tidemill ({error}); use the version that created them, or a newer one"
            ))),
        }
    }
}

/// Classes of SQLSTATE, from the appendix of the Postgres manual.
fn by_state(state: &str, message: &str) -> Failure {
    let unavailable = || Failure::Sink(SinkError::Unavailable(format!("{message} (SQLSTATE {state})")));
    let misconfigured = |text: String| Failure::Sink(SinkError::Misconfigured(text));
    match state {
        "3D000" => Failure::NoDatabase,
        "42P01" | "42703" | "3F000" => misconfigured(format!("{message}; run `tidemill apply`")),
        "42501" => misconfigured(format!("{message}; grant the sink's user what it needs, or let it own the tables")),
        // The primary after a failover is elsewhere, or will be; the other one is a full disk or a lock that took too long.
        "25006" | "55P03" => unavailable(),
        _ => match state.get(..2).unwrap_or_default() {
            "22" | "23" => Failure::Value(state.to_owned()),
            // The message would name the user.
            "28" => {
                misconfigured(format!("the credentials were refused (SQLSTATE {state}); check the user info of `url`"))
            }
            // Connection, transaction rolled back, resources, operator intervention, system error, internal error.
            "08" | "40" | "53" | "57" | "58" | "XX" => unavailable(),
            _ => misconfigured(format!("{message} (SQLSTATE {state})")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_sorted_by_what_helps() {
        let cases = [
            ("57P01", "unavailable"),
            ("57P03", "unavailable"),
            ("57014", "unavailable"),
            ("53100", "unavailable"),
            ("40P01", "unavailable"),
            ("40001", "unavailable"),
            ("25006", "unavailable"),
            ("08006", "unavailable"),
            ("22021", "value"),
            ("23502", "value"),
            ("42P01", "misconfigured"),
            ("42501", "misconfigured"),
            ("28P01", "misconfigured"),
            ("3D000", "no database"),
            ("", "misconfigured"),
        ];
        for (state, expected) in cases {
            let found = match by_state(state, "what the server says") {
                Failure::Value(_) => "value",
                Failure::NoDatabase => "no database",
                Failure::Sink(SinkError::Unavailable(_)) => "unavailable",
                Failure::Sink(SinkError::Misconfigured(_)) => "misconfigured",
                Failure::Sink(_) => "other",
            };
            assert_eq!(found, expected, "{state}");
        }
    }
}
