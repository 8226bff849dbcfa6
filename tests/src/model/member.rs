//! A static member of a group, from its owner's side.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::{BrokerError, BrokerErrorKind, Member, MemberEvent, MemberOptions, Result};

use super::core::Core;
use super::group::{Answer, MemberId};
use super::refusal::Refusal;
use super::{Shared, about};

pub(super) struct ModelMember {
    shared: Arc<Shared>,
    pub(super) group: String,
    id: MemberId,
    /// The client knows that it was fenced, and is beyond use.
    is_lost: bool,
}

impl ModelMember {
    pub(super) fn join(shared: &Arc<Shared>, options: &MemberOptions) -> Result<Self> {
        let MemberOptions { group, tasks_topic, slot, session_timeout } = options;
        let mut core = shared.lock();
        let tasks = core.topics.partitions(tasks_topic).map_err(|refusal| about("join", refusal, tasks_topic))?;
        let now = core.now;
        let id = core.group(group).join(slot, tasks, *session_timeout, now);
        drop(core);
        Ok(Self { shared: Arc::clone(shared), group: group.clone(), id, is_lost: false })
    }

    /// An error in itself if the client knows already that it is nobody any more.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_lost {
            return Err(lost("send offsets"));
        }
        Ok(())
    }

    /// What the broker thinks of offsets that are sent with this membership.
    pub(super) fn fence(&self, core: &mut Core) -> std::result::Result<(), Refusal> {
        core.group(&self.group).fence(self.id)
    }
}

impl Member for ModelMember {
    fn poll(&mut self, _timeout: Duration) -> Result<Option<MemberEvent>> {
        let mut core = self.shared.lock();
        let now = core.now;
        match core.group(&self.group).poll(self.id, now) {
            Answer::Nothing => Ok(None),
            Answer::Event(event) => Ok(Some(event)),
            Answer::Fenced => {
                drop(core);
                self.is_lost = true;
                Err(lost("poll the membership"))
            }
        }
    }

    fn acknowledge(&mut self, event: &MemberEvent) -> Result<()> {
        if self.shared.lock().group(&self.group).acknowledge(self.id, event) {
            return Ok(());
        }
        let message = format!("{event:?} is not the event that group `{}` waits for", self.group);
        Err(BrokerError::new(BrokerErrorKind::Misconfigured, "acknowledge", message))
    }

    fn leave(self: Box<Self>) -> Result<()> {
        self.shared.lock().group(&self.group).leave(self.id);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for ModelMember {
    fn drop(&mut self) {
        self.shared.lock().group(&self.group).abandon(self.id);
    }
}

fn lost(during: &'static str) -> BrokerError {
    BrokerError::new(BrokerErrorKind::MemberLost, during, "FencedInstanceId: another member has this slot")
}
