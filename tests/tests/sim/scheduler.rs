//! Runs the threads of a whole cluster as coroutines of one: one at a time, switched only where they wait, in an order and
//! at times that the seed decides.
//!
//! A thread gives way in [`Sim::pause`], and nowhere else. So whatever lies between two pauses happens at one moment, and
//! the same seed gives the same run.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use generator::{Generator, Gn};
use tidemill_runtime::conformance::Random;
use tidemill_runtime::threads::Body;

use crate::faults::{Fault, Odds};
use crate::trace::Trace;

/// Bytes of a coroutine's stack: the engine's frames in a build for tests are large.
const STACK_BYTES: usize = 512 * 1024;
/// More turns than this in one run are a thread that spins.
const TURNS_MAX: u64 = 400_000;
/// One life of one process: all its threads die with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Incarnation(pub(crate) u32);

/// Everything that is no process under test: the network, the load, the supervisor.
pub(crate) const OUTSIDE: Incarnation = Incarnation(0);

/// What a killed thread unwinds with.
struct Killed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Alive,
    Killed,
    Done,
}

#[derive(Debug)]
struct SimThread {
    name: String,
    incarnation: Incarnation,
    wake_at: Duration,
    /// Decides between threads that wake at the same moment.
    tie: u64,
    doing: &'static str,
    standing: Standing,
}

struct Inner {
    now: Duration,
    turns: u64,
    random: Random,
    odds: Odds,
    current: usize,
    threads: Vec<SimThread>,
    /// Numbers of threads that are not done.
    alive: Vec<usize>,
    newcomers: BTreeMap<usize, Body>,
    frozen_until: BTreeMap<Incarnation, Duration>,
    incarnations: u32,
    trace: Trace,
    failures: Vec<String>,
    is_over: bool,
}

/// The simulated machine room.
pub(crate) struct Sim {
    inner: Mutex<Inner>,
}

/// Coroutines that have ended, to be used again: a stack costs more than a turn.
#[derive(Default)]
pub(crate) struct Coroutines(Vec<Generator<'static, (), ()>>);

impl Coroutines {
    fn start(&mut self, body: impl FnOnce() + Send + 'static) -> Generator<'static, (), ()> {
        match self.0.pop() {
            Some(mut ended) => {
                ended.init_code(body);
                ended
            }
            None => Gn::<()>::new_opt(STACK_BYTES / size_of::<usize>(), body),
        }
    }
}

impl Sim {
    pub(crate) fn new(seed: u64, odds: Odds, trace: Trace) -> Arc<Self> {
        let inner = Inner {
            now: Duration::ZERO,
            turns: 0,
            random: Random::new(seed),
            odds,
            current: 0,
            threads: Vec::new(),
            alive: Vec::new(),
            newcomers: BTreeMap::new(),
            frozen_until: BTreeMap::new(),
            incarnations: 0,
            trace,
            failures: Vec::new(),
            is_over: false,
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.lock().random.number() % bound.max(1)
    }

    /// A span of at most `longest`, most often much shorter.
    pub(crate) fn span(&self, longest: Duration) -> Duration {
        self.lock().span(longest)
    }

    /// Whether `fault` strikes here. `rarity` makes it so many times rarer at calls that are made all the time.
    pub(crate) fn strikes(&self, fault: Fault, rarity: u64) -> bool {
        let mut inner = self.lock();
        let Some(odds) = inner.odds.of(fault) else { return false };
        let strikes = inner.random.number().is_multiple_of(odds * rarity.max(1));
        if strikes {
            inner.note(fault.name(), || "strikes".to_owned());
        }
        strikes
    }

    /// From here on nothing goes wrong any more.
    pub(crate) fn calm(&self) {
        let mut inner = self.lock();
        inner.odds.calm();
        inner.frozen_until.clear();
        inner.note("calm", String::new);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.lock().odds.is_calm()
    }

    pub(crate) fn incarnate(&self) -> Incarnation {
        let mut inner = self.lock();
        inner.incarnations += 1;
        Incarnation(inner.incarnations)
    }

    /// Notes what happened, by whom and when. The text is made only if somebody is going to read it.
    pub(crate) fn note(&self, what: &'static str, text: impl FnOnce() -> String) {
        self.lock().note(what, text);
    }

    /// Takes in what the engine logs.
    pub(crate) fn log(&self, text: String) {
        let mut inner = self.lock();
        let Inner { now, current, threads, trace, .. } = &mut *inner;
        let name = threads.get(*current).map_or("scheduler", |thread| thread.name.as_str());
        trace.line(*now, name, "log", || text);
    }

    pub(crate) fn fail(&self, what: String) {
        let mut inner = self.lock();
        inner.note("FAILED", || what.clone());
        inner.failures.push(what);
    }

    pub(crate) fn spawn(&self, name: String, incarnation: Incarnation, body: Body) {
        let mut inner = self.lock();
        let wake_at = inner.now + inner.span(Duration::from_millis(2));
        let tie = inner.random.number();
        let id = inner.threads.len();
        inner.note("spawn", || name.clone());
        inner.threads.push(SimThread { name, incarnation, wake_at, tie, doing: "start", standing: Standing::Alive });
        inner.alive.push(id);
        inner.newcomers.insert(id, body);
    }

    /// Ends every thread of the incarnation where it waits, without a chance to clean up.
    pub(crate) fn kill(&self, incarnation: Incarnation) {
        let mut inner = self.lock();
        let Inner { now, threads, alive, frozen_until, .. } = &mut *inner;
        frozen_until.remove(&incarnation);
        for id in alive.iter() {
            let thread = &mut threads[*id];
            if thread.incarnation == incarnation && thread.standing == Standing::Alive {
                thread.standing = Standing::Killed;
                thread.wake_at = *now;
            }
        }
    }

    /// Stops the incarnation for `span`, as SIGSTOP does: its threads stand where they are and know nothing of it.
    pub(crate) fn freeze(&self, incarnation: Incarnation, span: Duration) {
        let mut inner = self.lock();
        let until = inner.now + span;
        inner.frozen_until.insert(incarnation, until);
    }

    /// Whether the thread that runs now starts a task, rather than works on tasks.
    pub(crate) fn is_in_start(&self) -> bool {
        let inner = self.lock();
        inner.threads.get(inner.current).is_some_and(|thread| thread.name.starts_with("start-"))
    }

    /// Gives way for `span` of simulated time. Everybody whose time comes first goes first.
    pub(crate) fn pause(&self, doing: &'static str, span: Duration) {
        if std::thread::panicking() || !generator::is_generator() {
            return;
        }
        let mut inner = self.lock();
        let must_yield = inner.plan(doing, span);
        drop(inner);
        if must_yield {
            yield_to_scheduler();
        }
        self.die_if_killed();
    }

    fn die_if_killed(&self) {
        let inner = self.lock();
        let is_killed = inner.threads[inner.current].standing == Standing::Killed;
        drop(inner);
        if is_killed {
            resume_unwind(Box::new(Killed));
        }
    }

    /// Runs until every thread has ended, and returns what failed on the way.
    pub(crate) fn run(self: &Arc<Self>, coroutines: &mut Coroutines) -> Vec<String> {
        let mut running: BTreeMap<usize, Generator<'static, (), ()>> = BTreeMap::new();
        while let Some((id, body)) = self.next_turn() {
            if let Some(body) = body {
                let sim = Arc::clone(self);
                running.insert(id, coroutines.start(move || sim.live(body)));
            }
            let Some(coroutine) = running.get_mut(&id) else { break };
            coroutine.resume();
            if coroutine.is_done() {
                coroutines.0.extend(running.remove(&id));
                let mut inner = self.lock();
                inner.threads[id].standing = Standing::Done;
                inner.alive.retain(|alive| *alive != id);
            }
        }
        std::mem::take(&mut self.lock().failures)
    }

    fn live(&self, body: Body) {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            self.die_if_killed();
            body();
        }));
        if let Err(payload) = ended
            && !payload.is::<Killed>()
        {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no text");
            self.fail(format!("panic: {text}"));
        }
    }

    /// Whose turn is next, with its body if it has none yet.
    fn next_turn(&self) -> Option<(usize, Option<Body>)> {
        let mut inner = self.lock();
        if inner.turns > TURNS_MAX && !inner.is_over {
            let state = inner.state();
            inner.failures.push(format!("spinning: more than {TURNS_MAX} turns\n{state}"));
            inner.end();
        }
        let (wake_at, _, id) = inner.soonest(None)?;
        inner.now = inner.now.max(wake_at);
        inner.turns += 1;
        inner.current = id;
        let body = inner.newcomers.remove(&id);
        Some((id, body))
    }

    /// Kills everything that still runs, the caller too.
    pub(crate) fn end(&self) {
        self.lock().end();
    }

    /// Where every thread stands, for a report.
    pub(crate) fn state(&self) -> String {
        self.lock().state()
    }

    pub(crate) fn turns(&self) -> u64 {
        self.lock().turns
    }

    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.lock().trace)
    }
}

#[expect(deprecated, reason = "the scoped variant cannot be called from deep inside the code under test")]
fn yield_to_scheduler() {
    generator::yield_with(());
}

impl Inner {
    fn span(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let longest = match self.random.number() % 8 {
            0 => nanos,
            1 | 2 => nanos / 8,
            _ => nanos / 64,
        };
        Duration::from_nanos(self.random.number() % longest.max(1))
    }

    fn note(&mut self, what: &'static str, text: impl FnOnce() -> String) {
        let Self { now, current, threads, trace, .. } = self;
        let name = threads.get(*current).map_or("scheduler", |thread| thread.name.as_str());
        trace.note(*now, name, what, text);
    }

    /// Notes that the current thread waits. Whether somebody else comes first.
    fn plan(&mut self, doing: &'static str, span: Duration) -> bool {
        self.turns += 1;
        // Even nothing takes time; else a thread that asks again and again would stop the clock.
        let wake_at = self.now + span.max(Duration::from_nanos(200));
        let tie = self.random.number();
        let current = self.current;
        let thread = &mut self.threads[current];
        thread.doing = doing;
        if thread.standing != Standing::Alive {
            return false;
        }
        thread.wake_at = wake_at;
        thread.tie = tie;
        if self.turns > TURNS_MAX {
            return true;
        }
        let wake_at = self.effective(current);
        match self.soonest(Some(current)) {
            Some((other, _, _)) if other <= wake_at => true,
            _ => {
                self.now = wake_at;
                false
            }
        }
    }

    fn effective(&self, id: usize) -> Duration {
        let thread = &self.threads[id];
        let frozen = self.frozen_until.get(&thread.incarnation).copied().unwrap_or_default();
        thread.wake_at.max(frozen)
    }

    fn soonest(&self, except: Option<usize>) -> Option<(Duration, u64, usize)> {
        let others = self.alive.iter().copied().filter(|id| Some(*id) != except);
        others.map(|id| (self.effective(id), self.threads[id].tie, id)).min()
    }

    fn end(&mut self) {
        self.is_over = true;
        self.frozen_until.clear();
        for id in &self.alive {
            let thread = &mut self.threads[*id];
            thread.standing = Standing::Killed;
            thread.wake_at = self.now;
        }
    }

    fn state(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("at {:?}:", self.now);
        for id in &self.alive {
            let thread = &self.threads[*id];
            let _infallible = write!(
                text,
                "\n  {} (process {}): {} until {:?}",
                thread.name,
                thread.incarnation.0,
                thread.doing,
                self.effective(*id)
            );
        }
        text
    }
}
