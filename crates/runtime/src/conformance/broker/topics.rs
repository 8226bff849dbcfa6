//! Topics: creation, deletion, and what is said of those that do not exist.

use std::collections::BTreeMap;

use super::{Environment, kind, value_text};
use crate::broker::{BrokerErrorKind, Isolation, NewTopic, TopicPartition, Watermarks};

pub(super) fn creates_topics_of_any_width(environment: &Environment) {
    for partitions in [1, 4, 12, 64] {
        let topic = environment.topic(&partitions.to_string(), partitions);
        let last = TopicPartition::new(topic, partitions - 1);
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let watermarks = environment.broker().watermarks(&last, isolation).expect("the partition exists");
            assert_eq!(watermarks, Watermarks { low: 0, high: 0 });
        }
    }
}

pub(super) fn refuses_a_topic_that_exists(environment: &Environment) {
    let name = environment.topic("taken", 2);
    let again = NewTopic { name: name.clone(), partitions: 3, replication: 1, config: BTreeMap::new() };
    assert_eq!(kind(environment.broker().create_topic(&again)), Some(BrokerErrorKind::AlreadyExists));
    environment.await_topic(&name, Some(2));
}

pub(super) fn a_topic_created_anew_is_empty(environment: &Environment) {
    let name = environment.topic("again", 1);
    let partition = TopicPartition::new(name.clone(), 0);
    environment.write(&partition, &["old"]);
    environment.broker().delete_topic(&name).expect("the topic exists");
    environment.await_topic(&name, None);
    environment.topic("again", 1);
    environment.write(&partition, &["new"]);
    let seen = environment.read(environment.reader(&partition, 0).as_mut(), 1, 10);
    assert_eq!(seen.iter().map(value_text).collect::<Vec<_>>(), ["new"]);
    assert_eq!(seen[0].offset, 0);
}

pub(super) fn names_what_does_not_exist(environment: &Environment) {
    let name = environment.topic("narrow", 1);
    let missing = TopicPartition::new(environment.name("missing"), 0);
    let beyond = TopicPartition::new(name, 7);
    assert_eq!(kind(environment.broker().delete_topic(&missing.topic)), Some(BrokerErrorKind::NotFound));
    for partition in [missing, beyond] {
        let watermarks = environment.broker().watermarks(&partition, Isolation::ReadCommitted);
        assert_eq!(kind(watermarks), Some(BrokerErrorKind::NotFound), "{partition:?}");
    }
}
