//! Faults: processes of the pipeline that `verify` starts, and kills, freezes and stops while the load runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tidemill_runtime::broker::TopicPartition;
use tidemill_runtime::status;
use tidemill_runtime::supervise::slot_name;

use super::reading::ask;
use super::watch::Watch;
use crate::args::{BrokerArg, FaultArg, Global, VerifyArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;
use crate::stop::Stop;

const TICK: Duration = Duration::from_millis(50);
/// Between a kill and the start of the same instance again.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How much longer than the session an instance stays frozen or gone.
const BEYOND_SESSION: Duration = Duration::from_secs(4);
/// An orderly end takes no longer; then the process is killed.
const LEAVE_DEADLINE: Duration = Duration::from_secs(30);
/// Between two faults.
const QUIET_MS: std::ops::Range<u64> = 3_000..7_000;
/// One fault in so many hits two instances at once, where that leaves one alone.
const TOGETHER: u32 = 4;

/// A fault that was made, in milliseconds since the start of the run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    pub(super) instance: String,
    /// Tasks that were its own when it happened.
    pub(super) tasks: Vec<u32>,
    pub(super) at_ms: u32,
    /// When the instance was put right again.
    pub(super) ended_ms: u32,
}

struct Instance {
    name: String,
    child: Option<Child>,
    is_frozen: bool,
}

/// The started processes. They are killed when this is dropped.
pub(super) struct Fleet {
    program: PathBuf,
    arguments: Vec<String>,
    topology: PathBuf,
    dir: PathBuf,
    instances: Vec<Instance>,
    /// Instances that ended although nobody asked them to, and were started again.
    pub(super) ended: Vec<String>,
}

impl Fleet {
    pub(super) fn start(global: &Global, args: &VerifyArgs) -> Result<Self, Failure> {
        let dir = std::path::absolute(&args.dir)?;
        std::fs::create_dir_all(&dir)?;
        let names = (0..args.instances).map(|number| format!("v-{number}"));
        let instances = names.map(|name| Instance { name, child: None, is_frozen: false }).collect();
        let mut fleet = Self {
            program: own_program()?,
            arguments: arguments(global, args, &dir),
            topology: global.topology.clone(),
            dir,
            instances,
            ended: Vec::new(),
        };
        for index in 0..fleet.instances.len() {
            fleet.spawn(index)?;
        }
        Ok(fleet)
    }

    fn spawn(&mut self, index: usize) -> Result<(), Failure> {
        let name = self.instances[index].name.clone();
        let log = File::options().create(true).append(true).open(self.log(&name))?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--topology").arg(&self.topology).args(&self.arguments).args(["--instance", &name]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn()?;
        eprintln!("{}", serde_json::json!({"event": "instance", "instance": name, "pid": child.id()}));
        self.instances[index].child = Some(child);
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// Starts again what ended by itself, as a supervisor of services would.
    pub(super) fn tend(&mut self) -> Result<(), Failure> {
        for index in 0..self.instances.len() {
            let instance = &mut self.instances[index];
            let Some(child) = &mut instance.child else { continue };
            let Some(status) = child.try_wait()? else { continue };
            let message = format!("{} ended with {status}: {}", instance.name, last_line(&self.dir, &instance.name));
            eprintln!("{}", serde_json::json!({"event": "ended", "instance": instance.name, "message": message}));
            self.ended.push(message);
            self.spawn(index)?;
        }
        Ok(())
    }

    fn signal(&self, index: usize, signal: Signal) -> Result<(), Failure> {
        let pid = self.instances[index].child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        let Some(pid) = pid else { return Ok(()) };
        kill_process(pid, signal).map_err(|error| Failure::new(Exit::Findings, format!("kill: {error}")))
    }

    /// Begins the fault.
    fn strike(&mut self, index: usize, fault: FaultArg) -> Result<(), Failure> {
        match fault {
            FaultArg::Kill | FaultArg::Lose => {
                if let Some(mut child) = self.instances[index].child.take() {
                    child.kill()?;
                    child.wait()?;
                }
            }
            FaultArg::Freeze => {
                self.signal(index, Signal::STOP)?;
                self.instances[index].is_frozen = true;
            }
            FaultArg::Leave => {
                self.signal(index, Signal::TERM)?;
                if let Some(mut child) = self.instances[index].child.take() {
                    let started_at = Instant::now();
                    while child.try_wait()?.is_none() {
                        if started_at.elapsed() > LEAVE_DEADLINE {
                            self.ended
                                .push(format!("{} did not end within {LEAVE_DEADLINE:?}", self.instances[index].name));
                            child.kill()?;
                        }
                        std::thread::sleep(TICK);
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts the instance right again.
    fn mend(&mut self, index: usize) -> Result<(), Failure> {
        if self.instances[index].is_frozen {
            self.instances[index].is_frozen = false;
            return self.signal(index, Signal::CONT);
        }
        if self.instances[index].child.is_none() { self.spawn(index) } else { Ok(()) }
    }

    /// An orderly end of all.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        for index in 0..self.instances.len() {
            self.mend(index)?;
            self.signal(index, Signal::TERM)?;
        }
        let started_at = Instant::now();
        for instance in &mut self.instances {
            let Some(child) = &mut instance.child else { continue };
            while child.try_wait()?.is_none() && started_at.elapsed() < LEAVE_DEADLINE {
                std::thread::sleep(TICK);
            }
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.instances.iter_mut().filter_map(|instance| instance.child.as_mut()) {
            // It has ended already unless something went wrong.
            let _ended_already = child.kill();
            let _ended_already = child.wait();
        }
    }
}

/// The program that runs here, also when its file has been replaced meanwhile.
fn own_program() -> Result<PathBuf, Failure> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { Ok(std::env::current_exe()?) }
}

/// The command line that this process was given, as far as it says what is run, and what keeps the instances apart.
fn arguments(global: &Global, args: &VerifyArgs, dir: &Path) -> Vec<String> {
    let own = [
        ("pipeline.http_address".to_owned(), "127.0.0.1:0".to_owned()),
        ("pipeline.state_dir".to_owned(), dir.join("state").display().to_string()),
    ];
    let settings = global.overrides.iter().chain(&own).chain(&args.instance_overrides);
    let mut arguments: Vec<String> =
        settings.flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect();
    if let Some(broker) = global.broker {
        let broker = if broker == BrokerArg::Kafka { "kafka" } else { "embedded" };
        arguments.extend(["--broker".to_owned(), broker.to_owned()]);
    }
    arguments.extend(["--workers".to_owned(), args.workers.to_string()]);
    arguments
}

fn last_line(dir: &Path, name: &str) -> String {
    let text = std::fs::read(dir.join(format!("{name}.log"))).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned()
}

/// A seeded schedule over a fleet.
pub(super) struct Schedule<'a> {
    pub(super) session: &'a Session,
    pub(super) workers: u32,
    pub(super) faults: &'a [FaultArg],
    pub(super) watch: &'a Watch,
    /// The next fault waits this long at most for the tasks of the one before to go on.
    pub(super) bound_ms: u32,
    pub(super) seed: u64,
    pub(super) started_at: Instant,
}

impl Schedule<'_> {
    /// Makes faults until `is_over`. Whatever is under way then is put right before this returns.
    pub(super) fn run(
        &self,
        fleet: &mut Fleet,
        stop: &Stop,
        is_over: impl Fn() -> bool,
    ) -> Result<Vec<Fault>, Failure> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut faults = Vec::new();
        loop {
            let quiet = Duration::from_millis(random.random_range(QUIET_MS));
            if !self.wait(fleet, quiet, stop, &is_over)? {
                return Ok(faults);
            }
            let Some(fault) = self.faults.choose(&mut random).copied() else { continue };
            let count = if fleet.instances.len() > 2 && random.random_ratio(1, TOGETHER) { 2 } else { 1 };
            let all: Vec<usize> = (0..fleet.instances.len()).collect();
            let hit: Vec<usize> = all.choose_multiple(&mut random, count).copied().collect();
            let made = self.make(fleet, fault, &hit, stop)?;
            self.wait_until_recovered(fleet, &made, stop, &is_over)?;
            faults.extend(made);
        }
    }

    fn make(&self, fleet: &mut Fleet, fault: FaultArg, hit: &[usize], stop: &Stop) -> Result<Vec<Fault>, Failure> {
        let session_timeout =
            self.session.topology.units.iter().map(|unit| unit.commit.session_timeout_ms).max().unwrap_or(0);
        let lasts = match fault {
            FaultArg::Kill => RESTART_AFTER,
            FaultArg::Leave => BEYOND_SESSION,
            FaultArg::Freeze | FaultArg::Lose => Duration::from_millis(session_timeout) + BEYOND_SESSION,
        };
        let mut made = Vec::new();
        for index in hit {
            let instance = fleet.instances[*index].name.clone();
            let tasks = self.tasks_of(&instance)?;
            let at_ms = self.now_ms();
            fleet.strike(*index, fault)?;
            eprintln!(
                "{}",
                serde_json::json!({"event": "fault", "kind": fault.name(), "instance": instance, "tasks": tasks, "at_ms": at_ms})
            );
            made.push(Fault { kind: fault.name(), instance, tasks, at_ms, ended_ms: at_ms });
        }
        self.wait(fleet, lasts, stop, &|| false)?;
        for (index, fault) in hit.iter().zip(&mut made) {
            fleet.mend(*index)?;
            fault.ended_ms = self.now_ms();
        }
        Ok(made)
    }

    fn wait_until_recovered(
        &self,
        fleet: &mut Fleet,
        made: &[Fault],
        stop: &Stop,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        let goes_on = |fault: &Fault| {
            let seen = self.watch.seen();
            self.now_ms() > fault.at_ms.saturating_add(self.bound_ms)
                || fault.tasks.iter().all(|task| seen.first_since(*task, fault.at_ms).is_some())
        };
        while !made.iter().all(goes_on) && self.wait(fleet, TICK, stop, is_over)? {}
        Ok(())
    }

    /// `false` if it is over before.
    fn wait(
        &self,
        fleet: &mut Fleet,
        time: Duration,
        stop: &Stop,
        is_over: &dyn Fn() -> bool,
    ) -> Result<bool, Failure> {
        let started_at = Instant::now();
        while started_at.elapsed() < time {
            if stop.is_set() || is_over() {
                return Ok(false);
            }
            fleet.tend()?;
            std::thread::sleep(TICK);
        }
        Ok(true)
    }

    /// Tasks whose last checkpoint an instance has written.
    fn tasks_of(&self, instance: &str) -> Result<Vec<u32>, Failure> {
        let topology = &self.session.topology;
        let mut tasks = Vec::new();
        for unit in &topology.units {
            let slots: Vec<String> = (0..self.workers)
                .map(|number| slot_name(&topology.pipeline.scope(), &unit.name, instance, number))
                .collect();
            let log = unit.state_topic(&topology.pipeline);
            for task in 0..unit.tasks {
                let log = TopicPartition::new(log.as_str(), task);
                let checkpoint = ask(|| status::checkpoint(self.session.broker.as_ref(), &log))?;
                if slots.contains(&checkpoint.owner) && !tasks.contains(&task) {
                    tasks.push(task);
                }
            }
        }
        Ok(tasks)
    }

    fn now_ms(&self) -> u32 {
        u32::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u32::MAX)
    }
}
