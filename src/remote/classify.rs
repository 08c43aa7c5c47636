//! What a build result means: a statement about the derivation, or about the machine.
//!
//! The status decides wherever there is one. Nix has none for a builder that died by a signal, so there the message
//! is read; and a full disk is believed only when the machine itself says so, because a log can say anything.

use super::{dial::DialError, ssh::SshError};
use crate::{
    lifecycle::{AttemptOutcome, InfraCause},
    nix::daemon::{BuildOutcome, BuildResult, ClientError, FailureStatus},
    report::{Colours, terminal_line},
};

/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 2_000;

/// What is known of the machine when a build fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing speaks against it.
    Healthy,
    /// A disk is full, and the build has complained of it.
    DiskFull,
}

/// The outcome that `result` means, given what was seen beside it.
pub(super) fn classify(result: &BuildResult, evidence: Evidence) -> AttemptOutcome {
    match &result.outcome {
        BuildOutcome::Success { .. } => AttemptOutcome::Passed,
        BuildOutcome::Failure { status, message } => failure(*status, &plain(message), evidence),
        BuildOutcome::NotRun => {
            infra(InfraCause::Daemon, "the Nix daemon did not begin the build".to_owned())
        }
    }
}

fn failure(status: FailureStatus, message: &str, evidence: Evidence) -> AttemptOutcome {
    let message = message.to_owned();
    match status {
        FailureStatus::Permanent if died_by_kill(&message) => infra(InfraCause::Killed, message),
        FailureStatus::Permanent | FailureStatus::OutputRejected | FailureStatus::Cached
            if evidence == Evidence::DiskFull =>
        {
            infra(InfraCause::DiskFull, message)
        }
        FailureStatus::Permanent | FailureStatus::OutputRejected | FailureStatus::Cached => {
            AttemptOutcome::Failed { message }
        }
        FailureStatus::TimedOut => AttemptOutcome::Timeout { message },
        FailureStatus::LogLimitExceeded => AttemptOutcome::LogLimit,
        FailureStatus::NotDeterministic => AttemptOutcome::NotDeterministic { message },
        FailureStatus::NoSubstituters => infra(InfraCause::Substituter, message),
        // The daemon's own words, and no verdict whatever they are.
        FailureStatus::Transient | FailureStatus::Misc
            if evidence == Evidence::DiskFull || message.contains("No space left on device") =>
        {
            infra(InfraCause::DiskFull, message)
        }
        FailureStatus::InputRejected
        | FailureStatus::Transient
        | FailureStatus::Misc
        | FailureStatus::DependencyFailed
        | FailureStatus::Unknown(_) => infra(InfraCause::Daemon, message),
    }
}

/// Signal 9 is the kernel's out-of-memory killer, another store with the same build users, or a person; never a
/// verdict.
fn died_by_kill(message: &str) -> bool {
    message.contains("failed due to signal 9")
}

/// The outcome that a broken conversation means.
pub(super) fn broken(error: &ClientError) -> AttemptOutcome {
    let cause = match error {
        ClientError::Daemon(_) | ClientError::NotValid(_) | ClientError::NotTrusted(_) => InfraCause::Daemon,
        ClientError::Io { .. }
        | ClientError::Protocol(_)
        | ClientError::NotADaemon { .. }
        | ClientError::UnsupportedVersion { .. }
        | ClientError::Poisoned => InfraCause::ConnectionLost,
        ClientError::Corrupt { .. } => InfraCause::Corrupt,
    };
    infra(cause, plain(error.to_string().as_bytes()))
}

/// The outcome that an unreachable daemon means.
pub(super) fn dial_failed(error: &DialError) -> AttemptOutcome {
    let cause = match error {
        DialError::Ssh(SshError::HostKey { .. }) => InfraCause::HostKey,
        DialError::Ssh(
            SshError::Connect { .. }
            | SshError::Silent { .. }
            | SshError::Refused { .. }
            | SshError::Key { .. }
            | SshError::Channel { .. }
            | SshError::Broken { .. }
            | SshError::Program { .. },
        )
        | DialError::Socket { .. }
        | DialError::Program { .. }
        | DialError::NoWay { .. }
        | DialError::Handshake { .. }
        | DialError::Remote { .. }
        | DialError::Silent { .. } => InfraCause::ConnectionLost,
    };
    infra(cause, plain(error.to_string().as_bytes()))
}

pub(super) fn infra(cause: InfraCause, message: String) -> AttemptOutcome {
    AttemptOutcome::Infra { cause, message }
}

/// The first line of a message without control characters, and the reason that later versions of Nix give on the
/// second; the lines after it repeat the log.
fn plain(message: &[u8]) -> String {
    let clean = |line: &[u8]| terminal_line(line.trim_ascii(), Colours::Drop, MAX_MESSAGE);
    let mut lines =
        message.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).map(clean);
    let first = lines.next().unwrap_or_default();
    let second = lines.next().unwrap_or_default();
    match (first.strip_suffix('.'), second.strip_prefix("Reason: ")) {
        (Some(what), Some(reason)) if what.starts_with("Cannot build ") => format!("{what}: {reason}"),
        (_, _) => first.trim_end_matches(';').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::daemon::BuildTimes;

    fn outcome(status: FailureStatus, message: &str, evidence: Evidence) -> &'static str {
        let outcome = BuildOutcome::Failure { status, message: message.as_bytes().to_vec() };
        let result = BuildResult { outcome, times: BuildTimes::default() };
        classify(&result, evidence).word()
    }

    #[test]
    fn only_a_builder_that_failed_by_itself_fails_the_derivation() {
        let clean = Evidence::Healthy;
        let exit = "builder for '/nix/store/x.drv' failed with exit code 1;\n last 10 log lines: signal 9";
        let killed = "builder for '/nix/store/x.drv' failed due to signal 9 (Killed)";
        assert_eq!(outcome(FailureStatus::Permanent, exit, clean), "failed");
        let later =
            |reason: &str| format!("Cannot build '/nix/store/x.drv'.\n       Reason: {reason}\n signal 9");
        let died = later("\u{1b}[31;1mbuilder failed due to signal 9 (Killed)\u{1b}[0m.");
        assert_eq!(outcome(FailureStatus::Permanent, &died, clean), "infra");
        let exited = later("\u{1b}[31;1mbuilder failed with exit code 1\u{1b}[0m.");
        assert_eq!(outcome(FailureStatus::Permanent, &exited, clean), "failed");
        let words = plain(exited.as_bytes());
        assert_eq!(words, "Cannot build '/nix/store/x.drv': builder failed with exit code 1.");
        assert_eq!(outcome(FailureStatus::Permanent, killed, clean), "infra");
        assert_eq!(outcome(FailureStatus::Permanent, exit, Evidence::DiskFull), "infra");
        assert_eq!(outcome(FailureStatus::OutputRejected, "hash mismatch", clean), "failed");
        assert_eq!(outcome(FailureStatus::TimedOut, "", clean), "timeout");
        assert_eq!(outcome(FailureStatus::LogLimitExceeded, "", clean), "log-limit");
        assert_eq!(outcome(FailureStatus::Misc, "a 'x' is required", clean), "infra");
        assert_eq!(outcome(FailureStatus::Transient, "", clean), "infra");
    }
}
