//! What goes wrong, and how often.

use tidemill_runtime::conformance::Random;

macro_rules! faults {
    ($($fault:ident $name:literal $often:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault {
            $($fault),+
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$fault),+];

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name),+
                }
            }

            /// Of so many calls one is struck, in a run in which it strikes most.
            fn often(self) -> u64 {
                match self {
                    $(Self::$fault => $often),+
                }
            }
        }
    };
}

faults! {
    // A process is killed at a call: before it, or after it and before it knows the answer.
    Kill "kill" 120,
    // A process stands still for longer than its session, and knows nothing of it afterwards.
    Freeze "freeze" 250,
    // A process stops in good order and comes back later.
    Stop "stop" 12,
    // A call is not executed, and nobody says so.
    RequestLost "request_lost" 40,
    // A call is executed, and the answer does not arrive.
    AnswerLost "answer_lost" 40,
    // A commit is executed much later than its sender waits for.
    LateCommit "late_commit" 40,
    // The broker refuses a call, and the transaction has to be aborted.
    Refused "refused" 60,
    // A call takes seconds.
    Slow "slow" 80,
    // A read returns fewer records than there are.
    ShortRead "short_read" 4,
    // A read returns records again that were read before.
    Reread "reread" 12,
    // The group forgets a member that is alive.
    MemberLost "member_lost" 150,
    // A member that leaves is not heard: the group finds out by its silence.
    LeaveLost "leave_lost" 2,
    // The group's committed offsets are forgotten, or old ones.
    OffsetsForgotten "offsets_forgotten" 2,
    // A process that is killed loses the last writes to its stores, as a machine without power does.
    TailLost "tail_lost" 2,
    // A disk is full for a while.
    DiskFull "disk_full" 120,
    // A value cannot be read from the disk just now.
    ReadFails "read_fails" 120,
    // A store cannot be read as what was written.
    Damage "damage" 12,
    // A store is somebody else's.
    Foreign "foreign" 25,
    // Kafka only: the markers of a transaction that was acknowledged are never written, until an operator aborts it.
    Hang "hang" 60,
    // Kafka only: the broker is killed and comes back, and ends transactions without their markers on some partitions.
    BrokerKilled "broker_killed" 40,
    // Kafka only: the broker forgets the group's offsets, or has old ones.
    OffsetsLost "offsets_lost" 30,
    // Kafka only: the broker takes a living member for one that was replaced.
    FalseFence "false_fence" 60,
    // Kafka only: a commit is carried out and the client library does not hear of it.
    EndAnswerLost "end_answer_lost" 10,
    // The schema registry does not answer.
    RegistryAway "registry_away" 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultSet(u32);

impl FaultSet {
    const ALL: Self = Self((1 << Fault::ALL.len()) - 1);

    /// What the engine has to stand. Not `hang`: what a coordinator lost may be committed in part by the next transaction
    /// of the same producer, and an idle worker does not notice that its last commit came to nothing.
    pub(crate) const STOOD: Self = Self::ALL.without(Fault::Hang);

    pub(crate) const fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }

    pub(crate) const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u32))
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(move |fault| self.has(*fault))
    }

    /// By their names, separated by commas.
    pub(crate) fn parse(text: &str) -> Self {
        let named = |name: &str| Fault::ALL.iter().copied().find(|fault| fault.name() == name.trim());
        let faults = text.split(',').filter(|name| !name.is_empty());
        faults.fold(Self(0), |set, name| match named(name) {
            Some(fault) => Self(set.0 | (1 << fault as u32)),
            None => panic!("no fault is called `{name}`"),
        })
    }
}

impl std::fmt::Display for FaultSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.iter().map(Fault::name).collect();
        out.write_str(&names.join(","))
    }
}

/// How often each fault strikes in one run.
#[derive(Clone, Debug)]
pub(crate) struct Odds {
    /// One call of so many; 0 for never.
    by_fault: Vec<u64>,
    is_calm: bool,
}

impl Odds {
    /// Each run has a weather of its own: about half of the allowed faults, each more or less often.
    pub(crate) fn draw(seed: u64, allowed: FaultSet) -> Self {
        let mut random = Random::new(seed ^ 0x0dd5);
        let draw = |fault: &Fault| {
            let (is_on, scarcity) = (random.below(100) < 55, [1, 1, 2, 4, 8][random.below(5)]);
            if is_on && allowed.has(*fault) { fault.often() * scarcity } else { 0 }
        };
        Self { by_fault: Fault::ALL.iter().map(draw).collect(), is_calm: false }
    }

    pub(crate) fn of(&self, fault: Fault) -> Option<u64> {
        let odds = self.by_fault.get(fault as usize).copied().filter(|odds| *odds > 0);
        odds.filter(|_| !self.is_calm)
    }

    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm
    }
}
