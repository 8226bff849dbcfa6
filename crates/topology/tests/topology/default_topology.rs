//! The repository's default topology and examples, compiled, drawn and explained.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{compile_text, golden, repository, show};
use tidemill_core::Diagnostic;
use tidemill_topology::graph::{Format, render};
use tidemill_topology::plan::{Broker, Cleanup, Role, Topology};
use tidemill_topology::{BrokerChoice, Colour, Options, explain::explain};

fn compiled(path: &str, options: &Options<'_>) -> Result<Topology, Vec<Diagnostic>> {
    let text = std::fs::read_to_string(repository().join(path)).expect("the file is in the repository");
    compile_text(path, &text, options).and_then(|(topology, warnings)| match warnings.is_empty() {
        true => Ok(topology),
        false => Err(warnings),
    })
}

fn expect(path: &str, options: &Options<'_>) -> Topology {
    compiled(path, options).unwrap_or_else(|findings| panic!("{}", show(&findings)))
}

#[test]
fn examples_compile_without_findings() {
    for path in ["examples/minimal/topology.toml", "examples/dedupe-only/topology.toml"] {
        expect(path, &Options::default());
    }
}

#[test]
fn default_topology_reads_well_in_every_form() {
    let topology = expect("topology.toml", &Options::default());
    let folder = repository().join("crates/topology/tests/golden");
    for (name, actual) in [
        ("default.mmd", render(&topology, Format::Mermaid)),
        ("default.dot", render(&topology, Format::Dot)),
        ("default.json", render(&topology, Format::Json)),
        ("default.explain.txt", explain(&topology)),
    ] {
        golden(&folder.join(name), &actual).unwrap_or_else(|difference| panic!("{difference}"));
    }
}

#[test]
fn topics_follow_from_their_use() {
    let topology = expect("topology.toml", &Options::default());
    let topics: String = topology
        .topics
        .values()
        .map(|topic| {
            let kind = topic.kind.map_or("-", |kind| kind.name);
            let config: Vec<String> = topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let cleanup = match topic.cleanup {
                Cleanup::Delete => "delete",
                Cleanup::Compact => "compact",
            };
            let role = topic.role.name();
            format!("{:38} {role:12} {kind:20} {} {cleanup:7} {}\n", topic.name, topic.partitions, config.join(" "))
        })
        .collect();
    let path = repository().join("crates/topology/tests/golden/default.topics.txt");
    golden(&path, &topics).unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn the_broker_chooses_sinks_and_registry() {
    let embedded = expect("topology.toml", &Options::default());
    let kafka = expect("topology.toml", &Options { broker: Some(BrokerChoice::Kafka), ..Options::default() });
    let names = |topology: &Topology| topology.sinks.iter().map(|sink| sink.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&embedded), ["sqlite"]);
    assert_eq!(names(&kafka), ["postgres", "redis"]);
    assert_eq!(embedded.registry_url, None);
    assert!(kafka.registry_url.is_some());
    assert!(matches!(kafka.broker, Broker::Kafka { .. }));
    let roles = |topology: &Topology| {
        let shared = topology.topics.values().filter(|topic| topic.role != Role::Tasks);
        shared.map(|topic| (topic.name.clone(), topic.role)).collect::<Vec<_>>()
    };
    assert_eq!(roles(&embedded), roles(&kafka), "what a topic is does not depend on the broker");
}

#[test]
fn precedence_is_flag_then_environment_then_file() {
    let variables = BTreeMap::from([("TIDEMILL_BROKER".to_owned(), "kafka".to_owned())]);
    let from_environment = Options { variables: variables.clone(), ..Options::default() };
    assert!(matches!(expect("topology.toml", &from_environment).broker, Broker::Kafka { .. }));
    let from_flag = Options { broker: Some(BrokerChoice::Embedded), variables, ..Options::default() };
    assert!(matches!(expect("topology.toml", &from_flag).broker, Broker::Embedded { .. }));
}

#[test]
fn overrides_reach_named_sections_and_keep_text_as_text() {
    let overrides = [
        ("unit.main.tasks", "2"),
        ("pipeline.version", "1.10"),
        ("stage.notify.on_error", "stop"),
        ("topics.\"payments.status.v1\".config.\"min.insync.replicas\"", "2"),
    ];
    let overrides = overrides.map(|(path, value)| (path.to_owned(), value.to_owned())).to_vec();
    let topology = expect("topology.toml", &Options { overrides, ..Options::default() });
    assert_eq!(topology.units[0].tasks, 2);
    assert_eq!(topology.pipeline.version, "1.10");
    assert_eq!(topology.units[0].stages[3].on_error.name(), "stop");
    let status = &topology.topics["payments.status.v1"];
    assert_eq!((status.partitions, status.config["min.insync.replicas"].as_str()), (2, "2"));
}

#[test]
fn the_hash_follows_the_rules_and_not_the_place() {
    let with = |path: &str, value: &str| {
        let overrides = vec![(path.to_owned(), value.to_owned())];
        expect("topology.toml", &Options { overrides, ..Options::default() }).pipeline.config_hash
    };
    let plain = expect("topology.toml", &Options::default()).pipeline.config_hash;
    assert_eq!(plain.len(), 8);
    for (path, value) in [
        ("broker.data_dir", "elsewhere"),
        ("broker.kind", "kafka"),
        ("pipeline.state_dir", "elsewhere"),
        ("sink.sqlite.settings.path", "elsewhere"),
    ] {
        assert_eq!(with(path, value), plain, "{path}");
    }
    for (path, value) in
        [("pipeline.version", "2"), ("stage.ledger.settings.score_fraud.threshold", "90"), ("unit.main.tasks", "2")]
    {
        assert_ne!(with(path, value), plain, "{path}");
    }
}

#[test]
fn a_colour_shares_inputs_and_nothing_else() {
    let blue = expect("topology.toml", &Options::default());
    let green = blue.with_colour(&Colour::parse("green").expect("a colour"));
    let own = |topology: &Topology| topology.own_topics().map(|topic| topic.name.clone()).collect::<BTreeSet<_>>();
    let (of_blue, of_green) = (own(&blue), own(&green));
    assert!(of_blue.is_disjoint(&of_green), "{of_blue:?} {of_green:?}");
    assert_eq!(of_blue.len(), of_green.len());
    let shared: Vec<&String> = blue.topics.keys().filter(|name| green.topics.contains_key(*name)).collect();
    assert_eq!(
        shared,
        [
            "accounts.requested.v1",
            "calendars.posting.v1",
            "customers.preferences.v1",
            "fees.schedules.v1",
            "fraud.labels.v1",
            "fraud.rules.v1",
            "fx.rates.v1",
            "ops.audit.v1",
            "payments.limits.v1",
            "payments.reprocess",
            "payments.requested.v1",
        ]
    );
    for name in [
        "payments.green.main.state",
        "payments.green.replays",
        "payments.requested.v1.green.dlq",
        "payments.screened.v1.green.parked",
        "ledger.balances.v1.green",
    ] {
        assert!(of_green.contains(name), "{name} is not in {of_green:?}");
    }
    let used = |topology: &Topology| {
        let units = topology
            .units
            .iter()
            .flat_map(|unit| [unit.group(&topology.pipeline), unit.state_topic(&topology.pipeline)]);
        let sinks = topology.sinks.iter().map(|sink| sink.group(&topology.pipeline));
        units.chain(sinks).chain([topology.state_dir.display().to_string()]).collect::<BTreeSet<_>>()
    };
    assert!(used(&blue).is_disjoint(&used(&green)));
    for stage in green.units.iter().flat_map(|unit| &unit.stages) {
        let written = stage.inputs.iter().flat_map(|input| stage.topics_written(input));
        assert!(written.into_iter().all(|topic| of_green.contains(topic)), "{stage:?}");
        assert!(stage.inputs.iter().all(|input| of_green.contains(&input.dead_letters)), "{stage:?}");
    }
    for sink in &green.sinks {
        assert!(sink.topics.iter().all(|topic| green.topics.contains_key(topic)), "{sink:?}");
        assert_eq!(sink.settings.0.get("colour").and_then(|colour| colour.as_str()), Some("green"));
    }
    for topic in ["payments.requested.v1", "payments.status.v1.green"] {
        assert!(of_green.contains(&green.dead_letters(topic)), "{topic}");
    }
}
