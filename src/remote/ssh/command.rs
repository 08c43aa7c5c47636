//! The way through the user's own `ssh`: one process for each channel.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use russh::keys::Algorithm;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStderr, Command},
};

use super::{Channel, Hold as AnyHold, Said, error::SshError, target::SshTarget};
use crate::task;

/// How to start `ssh` for one machine.
#[derive(Debug)]
pub(in crate::remote) struct Ssh {
    program: PathBuf,
    args: Vec<String>,
    target: String,
}

/// Keeps the process; it is killed when this is dropped, also when the machine does not answer any more.
#[derive(Debug)]
pub(in crate::remote) struct Hold(Child);

impl Hold {
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Ssh {
    pub(super) fn new(
        target: &SshTarget,
        program: &Path,
        config: Option<&Path>,
        identity_file: Option<&Path>,
    ) -> Self {
        let mut args = vec!["-T".to_owned(), "-x".to_owned()];
        let mut file = |flag: &str, path: Option<&Path>| {
            args.extend(path.into_iter().flat_map(|path| [flag.to_owned(), path.display().to_string()]));
        };
        file("-F", config);
        file("-i", identity_file);
        // Only the key that is known counts, whatever the user's own files say.
        let known = target.host_key.line().unwrap_or_default();
        let algorithms = match target.host_key.algorithm() {
            Algorithm::Rsa { .. } => "rsa-sha2-512,rsa-sha2-256".to_owned(),
            other => other.to_string(),
        };
        let options = [
            "BatchMode=yes".to_owned(),
            "ControlMaster=no".to_owned(),
            "ControlPath=none".to_owned(),
            "ConnectTimeout=15".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "UserKnownHostsFile=/dev/null".to_owned(),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            format!("KnownHostsCommand=/usr/bin/env echo %H {known}"),
            format!("HostKeyAlgorithms={algorithms}"),
            format!("ServerAliveInterval={}", target.keepalive.as_secs().max(1)),
            "ServerAliveCountMax=3".to_owned(),
            "LogLevel=ERROR".to_owned(),
        ];
        args.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        args.extend(["-p".to_owned(), target.port.to_string()]);
        args.extend(["-l".to_owned(), target.user.clone(), "--".to_owned(), target.host.clone()]);
        Self { program: program.to_owned(), args, target: target.shown() }
    }

    pub(super) fn open(&self, command: &str) -> Result<Channel, SshError> {
        let failed =
            |source| SshError::Program { program: self.program.clone(), target: self.target.clone(), source };
        let mut ssh = Command::new(&self.program);
        ssh.args(&self.args).arg(command);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Not a foreground process: Ctrl-C is ours to handle.
        ssh.process_group(0).kill_on_drop(true);
        let mut child = ssh.spawn().map_err(failed)?;
        let (Some(writer), Some(reader), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(std::io::Error::other("its streams are not connected")));
        };
        let said = Said::default();
        task::spawn("read ssh's complaints", listen(stderr, said.clone()));
        Ok(Channel {
            reader: Box::pin(reader),
            writer: Box::pin(writer),
            said,
            hold: AnyHold::Command(Hold(child)),
        })
    }
}

/// Ends with the process.
async fn listen(mut stderr: ChildStderr, said: Said) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        said.add(&buffer[..read]);
    }
}

/// What `ssh` says when the machine has another key than it should, or none of the known kind.
pub(in crate::remote) fn says_wrong_host_key(said: &Said) -> bool {
    said.holds("Host key verification failed")
        || said.holds("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || said.holds("no matching host key type found")
}
