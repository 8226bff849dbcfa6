//! Dependencies point one way: `core ← schemas ← processors`, `core ← schemas ← connectors`,
//! `core ← topology ← runtime ← console`; the command sees all. A new arrow is a decision, so it is made here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::finding::Finding;

/// What a package of this workspace may use of the others.
struct Rule {
    package: &'static str,
    uses: &'static [&'static str],
    /// Besides `uses`.
    tests_use: &'static [&'static str],
}

const EVERYTHING: &[&str] = &[
    "tidemill-audit",
    "tidemill-core",
    "tidemill-schemas",
    "tidemill-processors",
    "tidemill-connectors",
    "tidemill-topology",
    "tidemill-runtime",
    "tidemill-console",
];

const RULES: &[Rule] = &[
    Rule { package: "tidemill-audit", uses: &[], tests_use: &[] },
    Rule { package: "tidemill-core", uses: &[], tests_use: &[] },
    Rule { package: "tidemill-schemas", uses: &["tidemill-core"], tests_use: &["tidemill-testkit"] },
    Rule {
        package: "tidemill-processors",
        uses: &["tidemill-core", "tidemill-schemas"],
        tests_use: &["tidemill-testkit"],
    },
    Rule {
        package: "tidemill-connectors",
        uses: &["tidemill-core", "tidemill-schemas"],
        tests_use: &["tidemill-testkit"],
    },
    Rule { package: "tidemill-topology", uses: &["tidemill-core"], tests_use: &["tidemill-testkit"] },
    Rule {
        package: "tidemill-runtime",
        uses: &["tidemill-audit", "tidemill-core", "tidemill-topology"],
        tests_use: &["tidemill-testkit"],
    },
    Rule {
        package: "tidemill-console",
        uses: &["tidemill-core", "tidemill-topology", "tidemill-runtime"],
        tests_use: &["tidemill-testkit"],
    },
    Rule { package: "tidemill-testkit", uses: &["tidemill-core"], tests_use: &[] },
    Rule { package: "tidemill", uses: EVERYTHING, tests_use: &["tidemill-testkit"] },
    Rule { package: "tidemill-tests", uses: EVERYTHING, tests_use: &["tidemill-testkit", "tidemill"] },
    Rule {
        package: "tidemill-bench",
        uses: &["tidemill-core", "tidemill-schemas", "tidemill-processors", "tidemill-topology", "tidemill-runtime"],
        tests_use: &[],
    },
    Rule {
        package: "tidemill-instructions",
        uses: &["tidemill-core", "tidemill-schemas", "tidemill-processors", "tidemill-topology", "tidemill-runtime"],
        tests_use: &[],
    },
    Rule { package: "xtask", uses: &[], tests_use: &[] },
];

/// Only the runtime talks to Kafka.
const KAFKA_CLIENTS: &[&str] = &["kafka-protocol", "rdkafka", "rdkafka-sys"];
const KAFKA_OWNER: &str = "tidemill-runtime";
/// Measures what the client library can do without the runtime.
const KAFKA_MEASURER: (&str, &str) = ("tidemill-bench", "rdkafka");

/// A processor is pure because there is nothing here that it could be impure with.
const PROCESSORS: &str = "tidemill-processors";
const PROCESSORS_USE_EXACTLY: &[&str] =
    &["jiff", "rhai", "rust_decimal", "serde", "serde_json", "sha2", "tidemill-core", "tidemill-schemas"];

/// The contracts know no client, no format of the outside and no asynchronous code.
const CORE: &str = "tidemill-core";
const CORE_NEVER_USES: &[&str] =
    &["apache-avro", "axum", "kafka-protocol", "rdkafka", "rdkafka-sys", "redis", "serde_json", "sqlx", "tokio"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Test,
}

struct Dependency<'a> {
    package: &'a str,
    manifest: String,
    name: &'a str,
    kind: Kind,
}

pub(crate) fn read_metadata(root: &Path) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata is no JSON: {error}"))
}

pub(crate) fn check(metadata: &Value) -> Vec<Finding> {
    let workspace: Vec<&str> = packages(metadata).map(|package| text(&package["name"])).collect();
    let mut findings = Vec::new();
    for package in packages(metadata) {
        let name = text(&package["name"]);
        let manifest = manifest_path(metadata, package);
        let Some(rule) = RULES.iter().find(|rule| rule.package == name) else {
            findings.push(Finding::error(&manifest, 1, format!("'{name}' has no rule in xtask/src/dependencies.rs")));
            continue;
        };
        let dependencies = dependencies_of(package, name, &manifest);
        findings.extend(dependencies.iter().filter_map(|dependency| refuse(dependency, rule, &workspace)));
        findings.extend(check_processors(name, &manifest, &dependencies));
    }
    findings
}

fn refuse(dependency: &Dependency<'_>, rule: &Rule, workspace: &[&str]) -> Option<Finding> {
    let Dependency { package, manifest, name, kind } = dependency;
    if KAFKA_CLIENTS.contains(name) && *package != KAFKA_OWNER && (*package, *name) != KAFKA_MEASURER {
        return Some(Finding::error(
            manifest,
            1,
            format!("'{name}' belongs to {KAFKA_OWNER} alone, behind its Broker trait"),
        ));
    }
    if *package == CORE && *kind == Kind::Normal && CORE_NEVER_USES.contains(name) {
        return Some(Finding::error(manifest, 1, format!("{CORE} must not depend on '{name}'")));
    }
    if !workspace.contains(name) {
        return None;
    }
    // For its tests a package may switch a feature of its own on.
    let allowed = name == package || rule.uses.contains(name) || (*kind == Kind::Test && rule.tests_use.contains(name));
    (!allowed).then(|| Finding::error(manifest, 1, format!("'{package}' must not depend on '{name}'")))
}

fn check_processors(name: &str, manifest: &str, dependencies: &[Dependency<'_>]) -> Vec<Finding> {
    if name != PROCESSORS {
        return Vec::new();
    }
    let used: Vec<&str> =
        dependencies.iter().filter(|found| found.kind == Kind::Normal).map(|found| found.name).collect();
    let added = used.iter().filter(|name| !PROCESSORS_USE_EXACTLY.contains(name));
    let gone = PROCESSORS_USE_EXACTLY.iter().filter(|name| !used.contains(name));
    added
        .map(|name| format!("'{name}' is new to {PROCESSORS}: its list of dependencies is fixed"))
        .chain(gone.map(|name| format!("'{name}' is gone from {PROCESSORS}: take it off the list, too")))
        .map(|message| Finding::error(manifest, 1, message))
        .collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn dependencies_of<'a>(package: &'a Value, name: &'a str, manifest: &str) -> Vec<Dependency<'a>> {
    let listed = package["dependencies"].as_array().into_iter().flatten();
    listed
        .map(|dependency| Dependency {
            package: name,
            manifest: manifest.to_owned(),
            name: text(&dependency["name"]),
            kind: if dependency["kind"] == "dev" { Kind::Test } else { Kind::Normal },
        })
        .collect()
}

fn manifest_path(metadata: &Value, package: &Value) -> String {
    let path = text(&package["manifest_path"]);
    path.strip_prefix(text(&metadata["workspace_root"])).unwrap_or(path).trim_start_matches('/').to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Metadata with one package under test, and the others without dependencies.
    fn findings(package: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let listed: Vec<Value> =
            dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        let mut packages = vec![json!({ "name": package, "manifest_path": "/x/p/Cargo.toml", "dependencies": listed })];
        for rule in RULES.iter().filter(|rule| rule.package != package && rule.package != PROCESSORS) {
            packages.push(json!({ "name": rule.package, "manifest_path": "/x/q/Cargo.toml", "dependencies": [] }));
        }
        check(&json!({ "workspace_root": "/x", "packages": packages })).iter().map(|found| found.to_string()).collect()
    }

    #[test]
    fn directions() {
        let cases = [
            ("tidemill-schemas", "tidemill-core", None, ""),
            ("tidemill-core", "tidemill-schemas", None, "'tidemill-core' must not depend on 'tidemill-schemas'"),
            (
                "tidemill-topology",
                "tidemill-runtime",
                None,
                "'tidemill-topology' must not depend on 'tidemill-runtime'",
            ),
            ("tidemill-runtime", "tidemill-schemas", None, "'tidemill-runtime' must not depend on 'tidemill-schemas'"),
            ("tidemill-runtime", "tidemill-testkit", Some("dev"), ""),
            ("tidemill-runtime", "tidemill-runtime", Some("dev"), ""),
            ("tidemill", "tidemill-testkit", None, "'tidemill' must not depend on 'tidemill-testkit'"),
            ("tidemill-runtime", "rdkafka", None, ""),
            (
                "tidemill-tests",
                "rdkafka",
                Some("dev"),
                "'rdkafka' belongs to tidemill-runtime alone, behind its Broker trait",
            ),
            ("tidemill-core", "tokio", None, "tidemill-core must not depend on 'tokio'"),
            ("tidemill-core", "serde", None, ""),
            ("tidemill-surprise", "serde", None, "'tidemill-surprise' has no rule in xtask/src/dependencies.rs"),
        ];
        for (package, dependency, kind, message) in cases {
            let expected: Vec<String> =
                if message.is_empty() { vec![] } else { vec![format!("p/Cargo.toml:1: {message}")] };
            assert_eq!(findings(package, &[(dependency, kind)]), expected, "{package} -> {dependency}");
        }
    }

    #[test]
    fn the_list_of_the_processors_is_exact() {
        let exact: Vec<(&str, Option<&str>)> = PROCESSORS_USE_EXACTLY.iter().map(|name| (*name, None)).collect();
        let mut dependencies = exact.clone();
        dependencies.push(("proptest", Some("dev")));
        assert_eq!(findings(PROCESSORS, &dependencies), Vec::<String>::new());
        dependencies.push(("reqwest", None));
        dependencies.remove(0);
        assert_eq!(
            findings(PROCESSORS, &dependencies),
            [
                "p/Cargo.toml:1: 'reqwest' is new to tidemill-processors: its list of dependencies is fixed",
                "p/Cargo.toml:1: 'jiff' is gone from tidemill-processors: take it off the list, too",
            ]
        );
    }
}
