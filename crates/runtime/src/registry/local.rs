//! A registry of one process: a file beside the embedded broker, so that trying out needs no registry.
//!
//! It behaves as a Confluent-compatible registry does: equal schemas have one id whatever their subject, and a subject's
//! compatibility, `BACKWARD` unless set, decides what may follow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RegistryError, SchemaRegistry};

const FILE: &str = "schemas.json";
const DEFAULT_LEVEL: &str = "BACKWARD";

pub struct LocalRegistry {
    path: PathBuf,
    catalog: Mutex<Catalog>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Catalog {
    /// The schema of id n is the one at n − 1.
    schemas: Vec<Value>,
    /// Ids of each subject's versions; version n is the one at n − 1.
    subjects: BTreeMap<String, Vec<u32>>,
    compatibility: BTreeMap<String, String>,
}

impl LocalRegistry {
    /// Opens the registry of this directory, which must be there; an empty one if there is none yet.
    pub fn open(directory: &Path) -> Result<Self, RegistryError> {
        let path = directory.join(FILE);
        let catalog = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                RegistryError::Refused(format!("{} is damaged ({error}); restore it from a backup", path.display()))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Catalog::default(),
            Err(error) => return Err(unavailable(&path, &error)),
        };
        Ok(Self { path, catalog: Mutex::new(catalog) })
    }

    fn lock(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the new catalog, whole or not at all, before anybody sees it.
    fn replace(&self, current: &mut Catalog, next: Catalog) -> Result<(), RegistryError> {
        let bytes = serde_json::to_vec_pretty(&next).map_err(|error| RegistryError::Refused(error.to_string()))?;
        let beside = self.path.with_extension("json.new");
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&beside, &self.path)).map_err(|error| unavailable(&self.path, &error))?;
        *current = next;
        Ok(())
    }
}

impl SchemaRegistry for LocalRegistry {
    fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let value = parse(schema)?;
        let mut catalog = self.lock();
        let versions = catalog.subjects.get(subject).map(Vec::as_slice).unwrap_or_default();
        let known = catalog.schemas.iter().position(|known| *known == value).map(|index| index as u32 + 1);
        if let Some(id) = known.filter(|id| versions.contains(id)) {
            return Ok(id);
        }
        if !catalog.accepts(subject, &value)? {
            let level = catalog.level(subject);
            return Err(RegistryError::Refused(format!("the schema breaks {level} compatibility of `{subject}`")));
        }
        let mut next = catalog.clone();
        let id = known.unwrap_or_else(|| {
            next.schemas.push(value);
            next.schemas.len() as u32
        });
        next.subjects.entry(subject.to_owned()).or_default().push(id);
        self.replace(&mut catalog, next)?;
        Ok(id)
    }

    fn schema(&self, id: u32) -> Result<String, RegistryError> {
        self.lock().by_id(id).map(Value::to_string).ok_or(RegistryError::Unknown)
    }

    fn version(&self, subject: &str, id: u32) -> Result<Option<u32>, RegistryError> {
        let catalog = self.lock();
        let position = catalog.subjects.get(subject).and_then(|ids| ids.iter().position(|known| *known == id));
        Ok(position.map(|position| position as u32 + 1))
    }

    fn latest(&self, subject: &str) -> Result<Option<(u32, u32, String)>, RegistryError> {
        let catalog = self.lock();
        let Some(versions) = catalog.subjects.get(subject) else { return Ok(None) };
        let latest = versions.last().and_then(|id| Some((*id, catalog.by_id(*id)?)));
        Ok(latest.map(|(id, schema)| (id, versions.len() as u32, schema.to_string())))
    }

    fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        rules(level)?;
        let mut catalog = self.lock();
        let mut next = catalog.clone();
        next.compatibility.insert(subject.to_owned(), level.to_owned());
        self.replace(&mut catalog, next)
    }

    fn is_compatible(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        self.lock().accepts(subject, &parse(schema)?)
    }

    fn delete_subject(&self, subject: &str) -> Result<(), RegistryError> {
        let mut catalog = self.lock();
        let mut next = catalog.clone();
        next.subjects.remove(subject);
        next.compatibility.remove(subject);
        self.replace(&mut catalog, next)
    }

    fn describe(&self) -> String {
        format!("schemas in {}", self.path.display())
    }
}

impl Catalog {
    fn by_id(&self, id: u32) -> Option<&Value> {
        self.schemas.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    fn level(&self, subject: &str) -> &str {
        self.compatibility.get(subject).map_or(DEFAULT_LEVEL, String::as_str)
    }

    fn accepts(&self, subject: &str, schema: &Value) -> Result<bool, RegistryError> {
        let Rules { reads_old, is_read_by_old, reach } = rules(self.level(subject))?;
        let versions = self.subjects.get(subject).map(Vec::as_slice).unwrap_or_default();
        let compared = match reach {
            Reach::All => versions,
            Reach::Latest => &versions[versions.len().saturating_sub(1)..],
        };
        let new = avro(schema)?;
        for old in compared.iter().filter_map(|id| self.by_id(*id)) {
            let old = avro(old)?;
            if (reads_old && !can_read(&old, &new)) || (is_read_by_old && !can_read(&new, &old)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

enum Reach {
    Latest,
    All,
}

/// What a level of compatibility asks of a new schema.
struct Rules {
    reads_old: bool,
    is_read_by_old: bool,
    reach: Reach,
}

fn rules(level: &str) -> Result<Rules, RegistryError> {
    let (direction, reach) = match level.strip_suffix("_TRANSITIVE") {
        Some(direction) => (direction, Reach::All),
        None => (level, Reach::Latest),
    };
    let (reads_old, is_read_by_old) = match (direction, &reach) {
        ("NONE", Reach::Latest) => (false, false),
        ("BACKWARD", _) => (true, false),
        ("FORWARD", _) => (false, true),
        ("FULL", _) => (true, true),
        _ => return Err(RegistryError::Refused(format!("`{level}` is not a level of compatibility"))),
    };
    Ok(Rules { reads_old, is_read_by_old, reach })
}

fn can_read(writer: &Schema, reader: &Schema) -> bool {
    matches!(SchemaCompatibility::can_read(writer, reader), Ok(Compatibility::Full))
}

fn parse(schema: &str) -> Result<Value, RegistryError> {
    let value = serde_json::from_str(schema).map_err(|error| RegistryError::Refused(format!("not JSON: {error}")))?;
    avro(&value)?;
    Ok(value)
}

fn avro(schema: &Value) -> Result<Schema, RegistryError> {
    Schema::parse(schema).map_err(|error| RegistryError::Refused(format!("not an Avro schema: {error}")))
}

fn unavailable(path: &Path, error: &std::io::Error) -> RegistryError {
    RegistryError::Unavailable(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"type":"record","name":"Payment","fields":[{"name":"id","type":"string"}]}"#;
    const ONE_WRITTEN_ANOTHER_WAY: &str =
        r#"{ "name": "Payment", "type": "record", "fields": [ { "type": "string", "name": "id" } ] }"#;
    const WITH_DEFAULT: &str = r#"{"type":"record","name":"Payment","fields":[{"name":"id","type":"string"},
        {"name":"note","type":"string","default":""}]}"#;
    const WITHOUT_DEFAULT: &str = r#"{"type":"record","name":"Payment","fields":[{"name":"id","type":"string"},
        {"name":"note","type":"string"}]}"#;
    const OTHER_TYPE: &str = r#"{"type":"record","name":"Payment","fields":[{"name":"id","type":"long"}]}"#;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory for the test")
    }

    #[test]
    fn an_equal_schema_has_one_id() {
        let directory = directory();
        let registry = LocalRegistry::open(directory.path()).expect("a new registry");
        let register = |subject, schema| registry.register(subject, schema).expect("the schema is accepted");
        assert_eq!(register("a", ONE), 1);
        assert_eq!(register("b", WITH_DEFAULT), 2);
        assert_eq!(register("a", ONE_WRITTEN_ANOTHER_WAY), 1);
        assert_eq!(register("c", ONE), 1);
        assert_eq!(register("a", WITH_DEFAULT), 2);
        let latest =
            |subject| registry.latest(subject).expect("subjects are known").map(|(id, version, _)| (id, version));
        assert_eq!(
            [latest("a"), latest("b"), latest("c"), latest("d")],
            [Some((2, 2)), Some((2, 1)), Some((1, 1)), None]
        );
    }

    #[test]
    fn what_was_registered_is_there_after_a_restart() {
        let directory = directory();
        let registry = LocalRegistry::open(directory.path()).expect("a new registry");
        registry.set_compatibility("a", "NONE").expect("a level");
        registry.register("a", ONE).expect("the schema is accepted");
        let registry = LocalRegistry::open(directory.path()).expect("the registry again");
        assert_eq!(registry.register("a", OTHER_TYPE), Ok(2), "the level is remembered");
        let schema: Value = serde_json::from_str(&registry.schema(1).expect("known")).expect("JSON");
        assert_eq!(schema, parse(ONE).expect("JSON"));
        assert_eq!(
            [registry.schema(0), registry.schema(3)],
            [Err(RegistryError::Unknown), Err(RegistryError::Unknown)]
        );
    }

    #[test]
    fn levels_decide_what_may_follow() {
        let table = [
            ("BACKWARD", [true, false, false]),
            ("BACKWARD_TRANSITIVE", [true, false, false]),
            ("FORWARD", [true, true, false]),
            ("FULL", [true, false, false]),
            ("NONE", [true, true, true]),
        ];
        for (level, expected) in table {
            let directory = directory();
            let registry = LocalRegistry::open(directory.path()).expect("a new registry");
            registry.set_compatibility("a", level).expect("a level");
            registry.register("a", ONE).expect("the first schema is always accepted");
            let found = [WITH_DEFAULT, WITHOUT_DEFAULT, OTHER_TYPE]
                .map(|schema| registry.is_compatible("a", schema).expect("a schema"));
            assert_eq!(found, expected, "{level}");
            assert_eq!(registry.register("a", OTHER_TYPE).is_ok(), expected[2], "{level}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let directory = directory();
        let registry = LocalRegistry::open(directory.path()).expect("a new registry");
        for schema in ["", "{", "{}", r#"{"type":"no such type"}"#] {
            assert!(matches!(registry.register("a", schema), Err(RegistryError::Refused(_))), "{schema}");
        }
        for level in ["", "backward", "NONE_TRANSITIVE"] {
            assert!(matches!(registry.set_compatibility("a", level), Err(RegistryError::Refused(_))), "{level}");
        }
        fs::write(directory.path().join(FILE), "{").expect("the file is ours");
        assert!(matches!(LocalRegistry::open(directory.path()), Err(RegistryError::Refused(_))));
    }
}
