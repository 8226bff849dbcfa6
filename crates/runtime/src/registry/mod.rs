//! Where schemas are registered: a Confluent-compatible registry over HTTP, or a file beside the embedded broker.

mod http;
mod local;

pub use http::HttpRegistry;
pub use local::LocalRegistry;

/// What a registry answers when it does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("not registered")]
    Unknown,
    /// It does not answer, or not now: a dependency, to be asked again.
    #[error("not reachable: {0}")]
    Unavailable(String),
    #[error("{0}")]
    Refused(String),
}

/// Calls block, and are made off the hot path.
pub trait SchemaRegistry: Send + Sync {
    /// Registers the schema under the subject, or finds it there, and returns its id.
    fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError>;

    /// The schema behind an id, as JSON.
    fn schema(&self, id: u32) -> Result<String, RegistryError>;

    /// The version that the schema behind an id is of the subject; `None` if it is none.
    fn version(&self, subject: &str, id: u32) -> Result<Option<u32>, RegistryError>;

    /// Id, version and schema of the latest version under the subject; `None` if it has none.
    fn latest(&self, subject: &str) -> Result<Option<(u32, u32, String)>, RegistryError>;

    /// `BACKWARD`, `FULL_TRANSITIVE`, …
    fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError>;

    /// `Ok(false)`: the registry would refuse the schema.
    fn is_compatible(&self, subject: &str, schema: &str) -> Result<bool, RegistryError>;

    /// Forgets the subject with all its versions. Schemas stay, because records name them by their ids.
    fn delete_subject(&self, _subject: &str) -> Result<(), RegistryError> {
        Err(RegistryError::Refused("this registry does not forget subjects".to_owned()))
    }

    /// What this is and where, for people.
    fn describe(&self) -> String;
}
