//! The live pipeline and the new one, as the commands of a reprocess see them.

use std::path::Path;
use std::sync::Arc;

use tidemill_runtime::reprocess::Run;
use tidemill_topology::{Colour, Topology};

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::session::{self, Access, Session};

pub(super) struct Pair {
    pub(super) session: Session,
    pub(super) colour: Colour,
    /// The live one.
    pub(super) blue: Arc<Topology>,
    /// The new one.
    pub(super) green: Arc<Topology>,
}

impl Pair {
    /// `with` is the topology file of the new pipeline, if it has one of its own.
    pub(super) fn open(global: &Global, with: Option<&Path>, access: Access) -> Result<Self, Failure> {
        let (topology, _warnings) = session::compile(global)?;
        let session = Session::connect(Arc::new(topology), access)?;
        let colour = match (&global.colour, &session.note.run) {
            (Some(colour), _) => colour.clone(),
            (None, Some(run)) => run.colour.clone(),
            (None, None) => {
                return Err(Failure::new(Exit::Usage, "no reprocess is under way")
                    .hint("Begin one with `tidemill reprocess start --as COLOUR --reason ...`."));
            }
        };
        if session.note.live.as_ref() == Some(&colour) {
            return Err(Failure::new(Exit::Refused, format!("colour_taken: {colour} is the live pipeline"))
                .hint("Give the new one another colour."));
        }
        let other = Global {
            topology: with.unwrap_or(&global.topology).to_owned(),
            overrides: global.overrides.clone(),
            colour: None,
            ..*global
        };
        let (green, _warnings) = session::compile(&other)?;
        let green = Arc::new(green.with_colour(&colour));
        let blue = Arc::clone(&session.topology);
        let shared = |topology: &Topology| (topology.pipeline.name.clone(), topology.pipeline.audit_topic.clone());
        if shared(&blue) != shared(&green) {
            return Err(Failure::new(Exit::Config, "the two topologies are not of one pipeline")
                .hint("`pipeline.name` and `pipeline.audit_topic` have to be the same in both."));
        }
        Ok(Self { session, colour, blue, green })
    }

    /// The reprocess under way, which has to be the one that was begun with these topologies.
    pub(super) fn run(&self) -> Result<Run, Failure> {
        let Some(run) = self.session.note.run.clone().filter(|run| run.colour == self.colour) else {
            return Err(Failure::new(
                Exit::Refused,
                format!("reprocess_unknown: no reprocess as {} is under way", self.colour),
            )
            .hint("`tidemill reprocess status` shows what is; `start` begins one."));
        };
        for (which, begun, now) in [
            ("live", &run.blue_config_hash, &self.blue.pipeline.config_hash),
            ("new", &run.green_config_hash, &self.green.pipeline.config_hash),
        ] {
            if begun != now {
                let message = format!(
                    "reprocess_other_configuration: the {which} pipeline had configuration {begun} when this began, and has {now}"
                );
                return Err(Failure::new(Exit::Refused, message)
                    .hint("Name the same files with `--topology` and `--with`, or `abort` and begin anew."));
            }
        }
        Ok(run)
    }
}
