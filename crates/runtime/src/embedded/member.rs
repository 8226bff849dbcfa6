//! A member of a group, from its owner's side. Dropping it leaves the group at once.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{BrokerError, BrokerErrorKind, Member, MemberEvent, MemberOptions, Result};
use crate::embedded::group::{Answer, MemberId};
use crate::embedded::shared::Shared;

#[derive(Debug)]
pub(crate) struct EmbeddedMember {
    shared: Arc<Shared>,
    pub(crate) group: String,
    pub(crate) id: MemberId,
}

impl EmbeddedMember {
    pub(crate) fn join(shared: &Arc<Shared>, options: &MemberOptions) -> Result<Self> {
        let MemberOptions { group, tasks_topic, slot, session_timeout } = options;
        let mut core = shared.lock_to_write("member")?;
        let topic = core.topic_id(tasks_topic, "member")?;
        let tasks = core.catalog.topic(topic).map_or(0, |topic| topic.partitions.len() as u32);
        let id = core.groups.group(group).join(slot, tasks, *session_timeout, shared.now());
        drop(core);
        shared.notify();
        Ok(Self { shared: Arc::clone(shared), group: group.clone(), id })
    }
}

impl Member for EmbeddedMember {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MemberEvent>> {
        let deadline = self.shared.now().saturating_add(timeout);
        loop {
            let mut core = self.shared.lock("member poll")?;
            match core.groups.group(&self.group).poll(self.id, self.shared.now()) {
                Answer::Event(event) => return Ok(Some(event)),
                Answer::Replaced => {
                    let message = format!("another member of group `{}` took this slot", self.group);
                    return Err(BrokerError::new(BrokerErrorKind::MemberLost, "member poll", message));
                }
                Answer::Nothing if self.shared.wait(core, deadline) => {}
                Answer::Nothing => return Ok(None),
            }
        }
    }

    fn acknowledge(&mut self, event: &MemberEvent) -> Result<()> {
        let mut core = self.shared.lock("acknowledge")?;
        if !core.groups.group(&self.group).acknowledge(self.id, event) {
            let message = format!("{event:?} is not the event that group `{}` waits for", self.group);
            return Err(BrokerError::new(BrokerErrorKind::Misconfigured, "acknowledge", message));
        }
        drop(core);
        self.shared.notify();
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        if let Ok(mut core) = self.shared.lock("leave") {
            core.groups.group(&self.group).leave(self.id);
        }
        self.shared.notify();
    }
}
