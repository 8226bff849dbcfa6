//! The list of processors keeps the promises that documentation and checks rest on.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::Settings;
use tidemill_processors::PROCESSORS;

#[test]
fn names_are_unique_and_say_what_is_done() {
    let mut seen = BTreeSet::new();
    for spec in PROCESSORS {
        assert!(seen.insert(spec.name), "{} is listed twice", spec.name);
        assert!(spec.name.contains('_') && spec.summary.ends_with('.'), "{}", spec.name);
        assert!(!spec.signatures.is_empty(), "{} takes nothing", spec.name);
    }
}

#[test]
fn examples_work() {
    for spec in PROCESSORS {
        let settings = spec.example.parse().unwrap_or_else(|error| panic!("{}: {error}", spec.name));
        if let Err(errors) = (spec.build)(&Settings(settings)) {
            panic!("{}: {errors:?}", spec.name);
        }
    }
}

#[test]
fn unknown_settings_are_refused() {
    for spec in PROCESSORS {
        let settings = "no_such_setting = 1".parse().expect("is TOML");
        assert!((spec.build)(&Settings(settings)).is_err(), "{} takes any setting", spec.name);
    }
}

#[test]
fn a_store_belongs_to_one_processor() {
    let mut owners = BTreeMap::new();
    for spec in PROCESSORS {
        for store in spec.stores {
            let other = owners.insert(store.name, spec.name);
            assert_eq!(other, None, "store {} also belongs to {}", store.name, spec.name);
        }
    }
}

#[test]
fn a_code_means_one_thing() {
    let mut meanings = BTreeMap::new();
    for spec in PROCESSORS {
        for code in spec.codes {
            let meaning = (code.class, code.summary, code.remedy);
            let first = *meanings.entry(code.code).or_insert(meaning);
            assert_eq!(first, meaning, "{} of {} means something else elsewhere", code.code, spec.name);
        }
    }
}
