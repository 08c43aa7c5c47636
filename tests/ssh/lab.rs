//! A hub and machines around it, and the three stages of a build in one call.

use std::time::Duration;

use croft::{
    lifecycle::AttemptOutcome,
    remote::{BuildLog, Builder, FarSettings, Limits, Realised, SshTarget, Task},
};
use tokio_util::sync::CancellationToken;

use crate::{
    hosts::{self, Host, Plan},
    hub::Hub,
};

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Machines and their hub.
pub(crate) struct Lab {
    pub(crate) hub: Hub,
    pub(crate) hosts: Vec<Host>,
}

impl Lab {
    /// A lab with a machine for each plan, or none where that cannot be done.
    pub(crate) async fn new(plans: &[Plan]) -> Option<Self> {
        let hosts = hosts::start(plans).await?;
        Some(Self { hub: Hub::new(hosts::busybox()), hosts })
    }

    /// A lab with one usual machine.
    pub(crate) async fn one() -> Option<Self> {
        Self::new(&[Plan::default()]).await
    }

    /// The first machine as a builder, by croft's own ssh.
    pub(crate) fn builder(&self) -> Builder {
        self.builder_at(self.hosts[0].target())
    }

    pub(crate) fn builder_at(&self, target: SshTarget) -> Builder {
        Builder::over_ssh(target, self.hub.pool.clone(), 2, FarSettings::default())
    }
}

/// Keeps the lines of a build.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lines(pub(crate) Vec<String>);

impl BuildLog for Lines {
    fn line(&mut self, line: &[u8]) {
        self.0.push(String::from_utf8_lossy(line).into_owned());
    }

    fn phase(&mut self, _name: &[u8]) {}

    fn tick(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Tells by a channel when a line comes.
pub(crate) struct Tell(pub(crate) tokio::sync::mpsc::UnboundedSender<String>);

impl BuildLog for Tell {
    fn line(&mut self, line: &[u8]) {
        self.0.send(String::from_utf8_lossy(line).into_owned()).ok();
    }

    fn phase(&mut self, _name: &[u8]) {}

    fn tick(&mut self) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn limits() -> Limits {
    Limits { timeout: PATIENCE, max_silent: PATIENCE, max_log: 1 << 24 }
}

/// The three stages; the log is of the second.
pub(crate) async fn make(builder: &Builder, task: &Task) -> (AttemptOutcome, Vec<String>) {
    let cancel = CancellationToken::new();
    if let Err(outcome) = builder.send(task, &cancel).await {
        return (outcome, Vec::new());
    }
    let Realised { outcome, outputs, log, .. } =
        builder.build(task, limits(), Lines::default(), &cancel).await;
    if outcome != AttemptOutcome::Passed {
        return (outcome, log.0);
    }
    match builder.fetch(task, &outputs, &cancel).await {
        Ok(()) => (AttemptOutcome::Passed, log.0),
        Err(outcome) => (outcome, log.0),
    }
}

/// Waits until `what` has come about.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// The only output of a task.
pub(crate) fn out(task: &Task) -> croft::nix::StorePath {
    task.known_outputs().into_values().next().unwrap()
}
