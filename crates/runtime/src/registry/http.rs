//! A Confluent-compatible registry over HTTP.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{RegistryError, SchemaRegistry};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The registry's own code for a schema that is not registered under the subject.
const SCHEMA_NOT_FOUND: i64 = 40403;

/// Must not be called from within an asynchronous task: its calls block.
pub struct HttpRegistry {
    url: String,
    client: Client,
    /// One call at a time; ids are cached by those who ask.
    runtime: Mutex<Runtime>,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct Version {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct ById {
    schema: String,
}

#[derive(Deserialize)]
struct Latest {
    id: u32,
    version: u32,
    schema: String,
}

#[derive(Deserialize)]
struct Verdict {
    is_compatible: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failure {
    error_code: i64,
    message: String,
}

impl HttpRegistry {
    /// `url` is the base of the registry's Confluent-compatible interface. Talks to nobody yet.
    pub fn new(url: &str) -> Result<Self, RegistryError> {
        let client = Client::builder().timeout(REQUEST_TIMEOUT).build();
        let client = client.map_err(|error| RegistryError::Refused(format!("no HTTP client: {error}")))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| RegistryError::Unavailable(format!("no HTTP client: {error}")))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client, runtime: Mutex::new(runtime) })
    }

    fn call<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<T, RegistryError> {
        let mut url = reqwest::Url::parse(&self.url).map_err(|error| self.refused(error))?;
        url.path_segments_mut().map_err(|()| self.refused("not a base address"))?.pop_if_empty().extend(path);
        let request = self.client.request(method, url);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, bytes) =
            runtime.block_on(answer).map_err(|error| RegistryError::Unavailable(error.without_url().to_string()))?;
        if !status.is_success() {
            return Err(failure(status, serde_json::from_slice(&bytes).unwrap_or_default()));
        }
        serde_json::from_slice(&bytes).map_err(|error| self.refused(format_args!("unexpected answer: {error}")))
    }

    fn refused(&self, why: impl std::fmt::Display) -> RegistryError {
        RegistryError::Refused(format!("{}: {why}", self.describe()))
    }
}

impl SchemaRegistry for HttpRegistry {
    fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let path = ["subjects", subject, "versions"];
        self.call::<Registered>(Method::POST, &path, Some(json!({ "schema": schema }))).map(|registered| registered.id)
    }

    fn schema(&self, id: u32) -> Result<String, RegistryError> {
        let path = ["schemas", "ids", &id.to_string()];
        self.call::<ById>(Method::GET, &path, None).map(|by_id| by_id.schema)
    }

    fn version(&self, subject: &str, id: u32) -> Result<Option<u32>, RegistryError> {
        match self.call::<Vec<Version>>(Method::GET, &["schemas", "ids", &id.to_string(), "versions"], None) {
            Ok(versions) => {
                let of_subject = versions.into_iter().find(|version| version.subject == subject);
                Ok(of_subject.map(|version| version.version))
            }
            Err(RegistryError::Unknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn latest(&self, subject: &str) -> Result<Option<(u32, u32, String)>, RegistryError> {
        let path = ["subjects", subject, "versions", "latest"];
        match self.call::<Latest>(Method::GET, &path, None) {
            Ok(Latest { id, version, schema }) => Ok(Some((id, version, schema))),
            Err(RegistryError::Unknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let body = json!({ "compatibility": level });
        self.call::<Value>(Method::PUT, &["config", subject], Some(body)).map(|_| ())
    }

    fn is_compatible(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        match self.call::<Verdict>(Method::POST, &path, Some(json!({ "schema": schema }))) {
            Ok(verdict) => Ok(verdict.is_compatible),
            // Nothing to be compatible with.
            Err(RegistryError::Unknown) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn delete_subject(&self, subject: &str) -> Result<(), RegistryError> {
        for path in [&["subjects", subject][..], &["config", subject]] {
            match self.call::<Value>(Method::DELETE, path, None) {
                Ok(_) | Err(RegistryError::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Without a user and password that the address may hold.
    fn describe(&self) -> String {
        let Ok(mut url) = reqwest::Url::parse(&self.url) else { return "schema registry".to_owned() };
        let without_secrets = url.set_username("").and_then(|()| url.set_password(None));
        match without_secrets {
            Ok(()) => format!("schema registry at {url}"),
            Err(()) => "schema registry".to_owned(),
        }
    }
}

fn failure(status: StatusCode, failure: Failure) -> RegistryError {
    if status == StatusCode::NOT_FOUND || failure.error_code == SCHEMA_NOT_FOUND {
        return RegistryError::Unknown;
    }
    let message = format!("the schema registry answers {status}: {}", failure.message);
    match status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        true => RegistryError::Unavailable(message),
        false => RegistryError::Refused(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fall_in_three_classes() {
        let table = [
            (404, 40403, "unknown"),
            (404, 40401, "unknown"),
            (404, 0, "unknown"),
            (409, 409, "refused"),
            (422, 42201, "refused"),
            (401, 401, "refused"),
            (429, 0, "unavailable"),
            (500, 50001, "unavailable"),
            (503, 0, "unavailable"),
        ];
        for (status, error_code, expected) in table {
            let status = StatusCode::from_u16(status).expect("a status");
            let found = match failure(status, Failure { error_code, message: String::new() }) {
                RegistryError::Unknown => "unknown",
                RegistryError::Refused(_) => "refused",
                RegistryError::Unavailable(_) => "unavailable",
            };
            assert_eq!(found, expected, "{status} {error_code}");
        }
    }

    #[test]
    fn nobody_there_is_unavailable_and_names_no_password() {
        let registry = HttpRegistry::new("http://user:s3cret@127.0.0.1:1/api").expect("a client");
        let error = registry.schema(1).expect_err("nobody listens there");
        assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
        assert!(!format!("{error} {}", registry.describe()).contains("s3cret"), "{error}");
        let error = HttpRegistry::new("no address").expect("a client").schema(1).expect_err("not an address");
        assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    }
}
