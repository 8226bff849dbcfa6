//! The broker and what it needs.

use tidemill_core::diagnostic::nearest;

use crate::BrokerChoice;
use crate::codes;
use crate::findings::{Findings, Step, place};
use crate::plan::Broker;
use crate::raw::Raw;

/// Properties that the engine sets itself, because exactly-once processing rests on them.
const RESERVED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "message.timeout.ms",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

pub(super) fn plan(raw: &Raw, findings: &mut Findings) -> Option<Broker> {
    for property in raw.broker.properties.keys().filter(|property| RESERVED.contains(&property.as_str())) {
        let message = format!("the engine sets `{property}` itself");
        findings.add(place!["broker", "properties", property], &codes::PROPERTY_RESERVED, message);
    }
    match BrokerChoice::parse(&raw.broker.kind) {
        Some(BrokerChoice::Embedded) => Some(Broker::Embedded { data_dir: (&raw.broker.data_dir).into() }),
        Some(BrokerChoice::Kafka) => kafka(raw, findings),
        None => {
            let choices = BrokerChoice::ALL.map(BrokerChoice::name);
            let hint = nearest(&raw.broker.kind, choices).map(|near| format!("Did you mean `{near}`?"));
            let message = format!("there is no broker of kind `{}`", raw.broker.kind);
            findings.add_with_hint(place!["broker", "kind"], &codes::BROKER_UNKNOWN, message, hint);
            None
        }
    }
}

fn kafka(raw: &Raw, findings: &mut Findings) -> Option<Broker> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let bootstrap_servers = given(&raw.broker.bootstrap_servers);
    let registry = raw.registry.as_ref().filter(|registry| !registry.url.is_empty());
    let is_unresolved = |path: &[Step<'_>]| findings.is_unresolved(path);
    let lacks_bootstrap = bootstrap_servers.is_none() && !is_unresolved(place!["broker", "bootstrap_servers"]);
    let lacks_registry = registry.is_none() && !is_unresolved(place!["registry", "url"]);
    if lacks_bootstrap {
        let message = "kafka needs `bootstrap_servers` in [broker]";
        findings.add(place!["broker", "kind"], &codes::BROKER_INCOMPLETE, message);
    }
    if lacks_registry {
        let message = "kafka needs a schema registry: `url` in [registry]";
        findings.add(place!["broker", "kind"], &codes::BROKER_INCOMPLETE, message);
    }
    Some(Broker::Kafka {
        bootstrap_servers: bootstrap_servers?,
        replication: raw.broker.replication,
        properties: raw.broker.properties.clone(),
    })
}
