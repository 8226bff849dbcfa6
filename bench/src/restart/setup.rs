//! Names, addresses and the topology of one run.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_runtime::broker::{Broker, NewTopic};
use tidemill_runtime::kafka::KafkaBroker;
use tidemill_runtime::provision::Provisioner;
use tidemill_runtime::registry::HttpRegistry;
use tidemill_topology::{Catalog, Options, Topology, compile};

use crate::failure::{During, Result};
use crate::restart::engine::Engine;
use crate::restart::job;

const CATALOG: Catalog<'static> = Catalog { processors: job::PROCESSORS, codecs: job::CODECS, sinks: &[] };

/// What all processes of a run have to agree on.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Setup {
    /// Kafka, as `dev/stack env` prints it
    #[arg(long, env = "TIDEMILL_BOOTSTRAP")]
    pub(crate) bootstrap: String,
    /// Schema registry, as `dev/stack env` prints it
    #[arg(long, env = "TIDEMILL_REGISTRY")]
    pub(crate) registry: String,
    /// Begins the names of all topics and groups; a name that was used before goes on with its state
    #[arg(long)]
    pub(crate) run: String,
    /// Folder for the stores and logs of the engines
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Tasks, and so partitions
    #[arg(long, default_value_t = 4)]
    pub(crate) tasks: u32,
    /// Threads of each engine that do the work
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: u32,
    /// Longest time between two commits, in milliseconds
    #[arg(long, default_value_t = 100)]
    pub(crate) commit_ms: u64,
}

impl Setup {
    /// The topic that both engines read.
    pub(crate) fn input(&self) -> String {
        format!("{}.deposits.v1", self.run)
    }

    pub(crate) fn output(&self, engine: Engine) -> String {
        format!("{}.{}-balances.v1", self.run, engine.name())
    }

    pub(crate) fn state_dir(&self, engine: Engine) -> PathBuf {
        self.folder.join(format!("{}-state", engine.name()))
    }

    pub(crate) fn log(&self, engine: Engine) -> PathBuf {
        self.folder.join(format!("{}.log", engine.name()))
    }

    pub(crate) fn broker(&self) -> Result<Arc<dyn Broker>> {
        Ok(KafkaBroker::connect(&self.bootstrap, &[].into()).during("open a client")?)
    }

    pub(crate) fn topology(&self) -> Result<Topology> {
        let text = format!(
            "[pipeline]\nname = {:?}\nversion = \"1\"\nstate_dir = {:?}\n\
             [broker]\nkind = \"kafka\"\nbootstrap_servers = {:?}\n\
             [registry]\nurl = {:?}\n\
             [[unit]]\nname = \"main\"\ntasks = {}\ncommit_interval_ms_max = {}\nstandbys = 1\n\
             [[stage]]\nname = \"accounts\"\nunit = \"main\"\non_error = \"stop\"\n\
             [[stage.input]]\ntopic = {:?}\nchain = [\"keep_balance\"]\noutput = {:?}\n",
            self.run,
            self.state_dir(Engine::Tidemill).display().to_string(),
            self.bootstrap,
            self.registry,
            self.tasks,
            self.commit_ms,
            self.input(),
            self.output(Engine::Tidemill),
        );
        let compiled = compile("restart.toml", &text, &CATALOG, &Options::default());
        compiled.map(|(topology, _)| topology).map_err(|findings| format!("the topology: {findings:?}").into())
    }

    /// Creates what is missing. Kafka Streams makes its own internal topics.
    pub(crate) fn provision(&self) -> Result<()> {
        let broker = self.broker()?;
        let registry = Arc::new(HttpRegistry::new(&self.registry).during("open the registry")?);
        let topology = Arc::new(self.topology()?);
        let like = topology.topics.get(&self.output(Engine::Tidemill)).ok_or("the topology has no output")?.clone();
        let provisioner = Provisioner { topology, broker: Arc::clone(&broker), registry, codecs: job::CODECS };
        let plan = provisioner.plan().during("look at the broker")?;
        provisioner.apply(&plan, |_| {}).during("create the topics")?;
        let known = broker.topics().during("list the topics")?;
        let name = self.output(Engine::Streams);
        if known.iter().all(|topic| topic.name != name) {
            let topic = NewTopic { name, partitions: self.tasks, replication: 1, config: like.config };
            broker.create_topic(&topic).during("create a topic")?;
        }
        Ok(())
    }
}
