//! From the command line to a compiled topology, and from there to open connections.

use std::sync::Arc;

use tidemill_connectors::CONNECTORS;
use tidemill_core::{Diagnostic, SinkError};
use tidemill_processors::PROCESSORS;
use tidemill_runtime::broker::Broker;
use tidemill_runtime::clock::{Clock, SystemClock};
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions, OpenError};
use tidemill_runtime::kafka::KafkaBroker;
use tidemill_runtime::memory::MemoryShares;
use tidemill_runtime::provision::Provisioner;
use tidemill_runtime::registry::{HttpRegistry, LocalRegistry, SchemaRegistry};
use tidemill_runtime::reprocess::{Note, Rehearsal};
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::succession::Succession;
use tidemill_runtime::supervise::instance_dir;
use tidemill_runtime::telemetry::Telemetry;
use tidemill_runtime::threads::SystemThreads;
use tidemill_runtime::worker::Shared;
use tidemill_schemas::{CODECS, LedgerEntry};
use tidemill_topology::{BrokerChoice, Catalog, Colour, Options, Topology, plan};

use crate::args::{BrokerArg, Global};
use crate::exit::{Exit, Failure};

pub(crate) const CATALOG: Catalog<'static> = Catalog { processors: PROCESSORS, codecs: CODECS, sinks: CONNECTORS };

/// What the command does on the broker, which decides how the embedded one is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// May look while another process runs the pipeline.
    Read,
    Write,
    /// Runs the pipeline, with so many workers per unit.
    Work {
        workers: u32,
    },
    /// Runs pipelines that are not live, and changes which one is.
    Reprocess {
        workers: u32,
    },
}

impl Access {
    fn workers(self) -> u32 {
        match self {
            Self::Read | Self::Write => 1,
            Self::Work { workers } | Self::Reprocess { workers } => workers,
        }
    }
}

/// A compiled topology and connections to what it names.
pub(crate) struct Session {
    /// Of the pipeline that is meant: the live one, if nobody has said otherwise.
    pub(crate) topology: Arc<Topology>,
    /// Which pipeline over the same inputs is live, when the session was opened.
    pub(crate) note: Note,
    access: Access,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) registry: Arc<dyn SchemaRegistry>,
    pub(crate) clock: Arc<dyn Clock>,
    memory: MemoryShares,
}

/// Compiles the topology file. Findings are in the failure, or beside the topology where they are mere warnings.
pub(crate) fn compile(global: &Global) -> Result<(Topology, Vec<Diagnostic>), Failure> {
    let file = global.topology.display().to_string();
    let text = std::fs::read_to_string(&global.topology).map_err(|error| {
        Failure::new(Exit::Config, format!("{file}: {error}")).hint("Name the file with `--topology FILE`.")
    })?;
    let read_file = |path: &str| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let options = Options {
        broker: global.broker.map(|broker| match broker {
            BrokerArg::Embedded => BrokerChoice::Embedded,
            BrokerArg::Kafka => BrokerChoice::Kafka,
        }),
        overrides: global.overrides.clone(),
        variables: std::env::vars().collect(),
        read_file: &read_file,
    };
    tidemill_topology::compile(&file, &text, &CATALOG, &options).map_err(|diagnostics| Failure {
        diagnostics,
        ..Failure::new(Exit::Config, format!("{file} cannot be run")).hint("All findings are listed above.")
    })
}

/// Whether the sink keeps the entries of accounts, and so can be asked about them.
pub(crate) fn keeps_entries(plan: &plan::SinkPlan) -> bool {
    plan.spec.consumes.contains(&LedgerEntry::KIND)
}

pub(crate) fn sink_failure(sink: &str, error: SinkError) -> Failure {
    let exit = if matches!(error, SinkError::Unavailable(_)) { Exit::Unreachable } else { Exit::Config };
    Failure::new(exit, format!("sink {sink}: {error}"))
}

impl Session {
    pub(crate) fn open(global: &Global, access: Access) -> Result<Self, Failure> {
        let (topology, _warnings) = compile(global)?;
        let session = Self::connect(Arc::new(topology), access)?;
        match &global.colour {
            None => Ok(session),
            Some(colour) => session.of_colour(&compile(global)?.0, colour),
        }
    }

    /// `topology` as it was compiled; the session is for the pipeline that is live.
    pub(crate) fn connect(topology: Arc<Topology>, access: Access) -> Result<Self, Failure> {
        let memory = MemoryShares::of(&topology, access.workers());
        let (broker, registry): (Arc<dyn Broker>, Arc<dyn SchemaRegistry>) = match &topology.broker {
            plan::Broker::Embedded { data_dir } => {
                let broker: Arc<dyn Broker> = match access {
                    Access::Write | Access::Work { .. } | Access::Reprocess { .. } => {
                        EmbeddedBroker::open(data_dir, EmbeddedOptions::default()).map_err(in_use)?
                    }
                    Access::Read => {
                        EmbeddedBroker::open_read_only(data_dir, EmbeddedOptions::default()).map_err(in_use)?
                    }
                };
                (broker, Arc::new(LocalRegistry::open(data_dir)?))
            }
            plan::Broker::Kafka { bootstrap_servers, properties, .. } => {
                let url = topology.registry_url.clone().ok_or_else(|| {
                    Failure::new(Exit::Config, "a Kafka broker needs a schema registry")
                        .hint("Add `[registry]` with a `url` to the topology.")
                })?;
                let mut properties = properties.clone();
                for (name, value) in memory.client_properties() {
                    properties.entry(name.to_owned()).or_insert(value);
                }
                (KafkaBroker::connect(bootstrap_servers, &properties)?, Arc::new(HttpRegistry::new(&url)?))
            }
        };
        let note = Note::read(broker.as_ref(), &topology.pipeline)?;
        let topology = match &note.live {
            Some(colour) => Arc::new(topology.with_colour(colour)),
            None => topology,
        };
        let session =
            Self { topology, note, access, broker, registry, clock: Arc::new(SystemClock::default()), memory };
        session.check_live()?;
        Ok(session)
    }

    /// The same connections, for the pipeline of this colour.
    fn of_colour(self, topology: &Topology, colour: &Colour) -> Result<Self, Failure> {
        let session = Self { topology: Arc::new(topology.with_colour(colour)), ..self };
        session.check_live()?;
        Ok(session)
    }

    /// Whoever works must work for the live pipeline, and not with the configuration that was replaced.
    fn check_live(&self) -> Result<(), Failure> {
        let pipeline = &self.topology.pipeline;
        if !matches!(self.access, Access::Work { .. }) {
            return Ok(());
        }
        self.check_no_cutover()?;
        if pipeline.colour != self.note.live {
            let name = pipeline.colour.as_ref().map_or("the first pipeline", Colour::as_str);
            return Err(Failure::new(Exit::Refused, format!("pipeline_not_live: {name} is not the live pipeline"))
                .hint("`tidemill reprocess start` runs it up to where the live one is."));
        }
        match &self.note.replaced {
            Some(replaced)
                if replaced.config_hash == pipeline.config_hash && replaced.by_config_hash != pipeline.config_hash =>
            {
                let message = format!(
                    "topology_replaced: configuration {} was replaced by {}",
                    pipeline.config_hash, replaced.by_config_hash
                );
                Err(Failure::new(Exit::Refused, message)
                    .hint("Deploy the topology file that the cutover was made with."))
            }
            _ => Ok(()),
        }
    }

    /// While one pipeline takes over from another, nobody else may write for either.
    pub(crate) fn check_no_cutover(&self) -> Result<(), Failure> {
        match self.note.phase() {
            Some(phase) if phase.is_cutover() => {
                Err(Failure::new(Exit::Refused, format!("cutover_under_way: a cutover is {}", phase.name()))
                    .hint("Finish it with `tidemill reprocess cutover`, or undo it with `tidemill reprocess abort`."))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn provisioner(&self) -> Provisioner {
        self.provisioner_of(&self.topology)
    }

    fn provisioner_of(&self, topology: &Arc<Topology>) -> Provisioner {
        Provisioner {
            topology: Arc::clone(topology),
            broker: Arc::clone(&self.broker),
            registry: Arc::clone(&self.registry),
            codecs: CODECS,
        }
    }

    /// What the workers of one instance share.
    pub(crate) fn shared(&self, instance: &str) -> Result<Arc<Shared>, Failure> {
        self.shared_of(&self.topology, instance, None)
    }

    /// The same for another pipeline over the same inputs.
    pub(crate) fn shared_of(
        &self,
        topology: &Arc<Topology>,
        instance: &str,
        rehearsal: Option<Rehearsal>,
    ) -> Result<Arc<Shared>, Failure> {
        Ok(Arc::new(Shared {
            topology: Arc::clone(topology),
            broker: Arc::clone(&self.broker),
            registry: Arc::clone(&self.registry),
            codecs: CODECS,
            stores: Arc::new(DiskStores {
                cache_bytes: self.memory.store_cache_bytes,
                write_buffer_bytes_max: self.memory.store_write_buffer_bytes,
                ..DiskStores::default()
            }),
            clock: Arc::clone(&self.clock),
            threads: Arc::new(SystemThreads),
            telemetry: telemetry_of(topology)?,
            state_log: StateLogPolicy::default(),
            state_dir: instance_dir(&topology.state_dir, instance),
            rehearsal: rehearsal.map(Arc::new),
        }))
    }

    /// How commands open transactional producers, and end what somebody has left open.
    pub(crate) fn succession(&self) -> Result<Succession, Failure> {
        let topics = self.topology.topics.keys().cloned().collect();
        let telemetry = telemetry_of(&self.topology)?;
        Ok(Succession::new(Arc::clone(&self.broker), Arc::clone(&self.clock), telemetry, topics))
    }

    /// Creates everything that is missing. Fails on what only a person can decide.
    pub(crate) fn provision(&self) -> Result<(), Failure> {
        self.provision_of(&self.topology)
    }

    /// The same for another pipeline over the same inputs.
    pub(crate) fn provision_of(&self, topology: &Arc<Topology>) -> Result<(), Failure> {
        let provisioner = self.provisioner_of(topology);
        let plan = provisioner.plan()?;
        if let Some(refusal) = plan.refusals.first() {
            return Err(Failure::new(Exit::Refused, format!("{}: {}", refusal.what, refusal.why)));
        }
        Ok(provisioner.apply(&plan, |_| {})?)
    }
}

fn telemetry_of(topology: &Topology) -> Result<Telemetry, Failure> {
    let pipeline = &topology.pipeline;
    Telemetry::new(&pipeline.scope(), env!("CARGO_PKG_VERSION"), &pipeline.config_hash)
        .map_err(|error| Failure::new(Exit::Config, format!("metrics: {error}")))
}

fn in_use(error: OpenError) -> Failure {
    let exit = if matches!(error, OpenError::InUse { .. }) { Exit::Refused } else { Exit::Unreachable };
    Failure::new(exit, error)
}
