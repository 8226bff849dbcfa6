//! The schema registry over HTTP, against a real one.
//!
//! Needs the registry of `dev/stack up`, its Confluent-compatible interface at `TIDEMILL_REGISTRY`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidemill_runtime::registry::{HttpRegistry, RegistryError, SchemaRegistry};

#[test]
fn schemas_are_registered_found_and_kept_compatible() {
    let url = std::env::var("TIDEMILL_REGISTRY").expect("TIDEMILL_REGISTRY is set by `dev/stack up`");
    let registry = HttpRegistry::new(&url).expect("a client");
    // Schemas that are equal share an id across subjects, so the record has a name of its own too.
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
    let subject = format!("payments/{nanos}-value");
    let record = |fields: &str| format!(r#"{{"type":"record","name":"Payment{nanos}","fields":[{fields}]}}"#);
    let one = record(r#"{"name":"id","type":"string"}"#);
    let with_default = record(r#"{"name":"id","type":"string"},{"name":"note","type":"string","default":""}"#);
    let without_default = record(r#"{"name":"id","type":"string"},{"name":"fee","type":"long"}"#);

    assert_eq!(registry.latest(&subject), Ok(None));
    assert_eq!(registry.is_compatible(&subject, &one), Ok(true));
    let id = registry.register(&subject, &one).expect("the first schema is accepted");
    registry.set_compatibility(&subject, "FULL_TRANSITIVE").expect("the level is taken");
    assert_eq!(registry.register(&subject, &one), Ok(id));
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("a schema is JSON");
    assert_eq!(json(&registry.schema(id).expect("the id is known")), json(&one));

    assert_eq!(registry.is_compatible(&subject, &with_default), Ok(true));
    assert_eq!(registry.is_compatible(&subject, &without_default), Ok(false));
    let refusal = registry.register(&subject, &without_default).expect_err("a field without a default");
    assert!(matches!(refusal, RegistryError::Refused(_)), "{refusal}");
    let next = registry.register(&subject, &with_default).expect("a field with a default");
    let (latest, version, schema) = registry.latest(&subject).expect("it answers").expect("the subject is known");
    assert_eq!((latest, version, json(&schema)), (next, 2, json(&with_default)));
    assert_eq!(registry.schema(u32::MAX / 4), Err(RegistryError::Unknown));
}
