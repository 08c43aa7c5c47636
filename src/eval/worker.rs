//! One child of an evaluation, from its batch to a report.

use std::sync::Arc;

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    EvalSettings, FlakeRef, LockedFlake, SystemSelection,
    batch::{Batch, FIRST, Style},
    child::{Ear, run},
    lock::{override_args, starting_nix},
    message::NixMessage,
    nix::{Failure, Nix},
    program::{Ask, Said, Which},
};

/// Lines of one child that wait to be read.
const LINES: usize = 64;

/// A line of some child.
#[derive(Debug)]
pub(super) struct Heard(pub(super) Said);

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Report {
    /// The batch; that of a first look has its cells now.
    pub(super) batch: Batch,
    /// Whether all its cells were described; else how many, and why no more. `None` when not even the flake was.
    pub(super) ending: Result<(), (Option<usize>, Failure)>,
}

/// What all children of an evaluation share.
#[derive(Debug, Clone)]
pub(super) struct Worker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    nix: Nix,
    settings: EvalSettings,
    flake: LockedFlake,
    systems: SystemSelection,
    deadline: Instant,
}

/// What a child has said so far.
#[derive(Debug, Default)]
struct Progress {
    found: bool,
    done: usize,
    /// A line that is none of the program's.
    garbled: bool,
}

impl Worker {
    /// Children of an evaluation that must be over at `deadline`.
    pub(super) fn new(
        nix: Nix,
        settings: EvalSettings,
        flake: LockedFlake,
        systems: SystemSelection,
        deadline: Instant,
    ) -> Self {
        Self(Arc::new(Shared { nix, settings, flake, systems, deadline }))
    }

    pub(super) fn settings(&self) -> &EvalSettings {
        &self.0.settings
    }

    pub(super) fn flake(&self) -> &FlakeRef {
        &self.0.flake.flake
    }

    pub(super) fn systems(&self) -> &SystemSelection {
        &self.0.systems
    }

    /// Runs a child for the batch; its lines go to `heard` before this returns.
    pub(super) async fn work(
        self,
        mut batch: Batch,
        heard: mpsc::Sender<Heard>,
        cancel: CancellationToken,
    ) -> Report {
        // Random, since a flake that knew it could speak for croft's program.
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, 0, 0);
        let tag = format!("croft-{}", Uuid::new_v7(stamp).simple());
        let (sender, mut lines) = mpsc::channel(LINES);
        let ear = Ear { prefix: format!("trace: {tag} "), sender };
        let launch = self.0.nix.launch(&self.0.settings, self.args(&tag, &batch), self.0.deadline);
        let mut progress = Progress::default();
        let (ended, ()) = tokio::join!(run(launch, Some(ear), &cancel), async {
            while let Some(line) = lines.recv().await {
                self.take(&line, &mut batch, &mut progress, &heard).await;
            }
        });
        if progress.found && !progress.garbled && progress.done == batch.cells.len() {
            return Report { batch, ending: Ok(()) };
        }
        let done = progress.found.then_some(progress.done);
        let failure = match ended {
            Ok(ended) => {
                let message = NixMessage::read(&ended.stderr, Some(&self.0.flake.source));
                Failure::of(&ended, self.flake(), self.settings(), message)
            }
            Err(error) => Failure::Over(starting_nix(error)),
        };
        Report { batch, ending: Err((done, failure)) }
    }

    fn args(&self, tag: &str, batch: &Batch) -> Vec<String> {
        let cells = match batch.style {
            Style::First => Which::First(FIRST),
            Style::Quiet => Which::Quiet(&batch.cells),
            Style::Loud => Which::Loud(&batch.cells),
        };
        let ask = Ask { tag, wanted: &self.0.systems, limit: self.0.settings.max_cells, cells };
        let installable = format!("{}#checks", self.0.flake.target.as_str());
        let mut args: Vec<String> =
            ["eval", "--json", &installable, "--apply", &ask.apply()].map(str::to_owned).into();
        args.extend(override_args(&self.0.flake.overrides).map(str::to_owned));
        args
    }

    async fn take(
        &self,
        line: &str,
        batch: &mut Batch,
        progress: &mut Progress,
        heard: &mpsc::Sender<Heard>,
    ) {
        let Some(said) = Said::parse(line) else {
            progress.garbled = true;
            return;
        };
        match &said {
            Said::Found(found) => {
                progress.found = true;
                if let Some(found) = found {
                    batch.set_first(found.total.min(self.0.settings.max_cells));
                }
            }
            Said::Cell(..) | Said::Broken(_) => progress.done += 1,
            Said::Matrix(_) | Said::Point(..) => {}
        }
        // Nobody listens any more once the evaluation was given up; the child is cancelled then.
        let _ = heard.send(Heard(said)).await;
    }
}
