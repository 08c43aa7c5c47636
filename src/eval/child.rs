//! One child process within limits, killed with everything it started.

use std::{ffi::OsString, io, path::PathBuf, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    cgroup::Cgroup,
    lines::{StderrKeeper, TooMuch},
};

/// Joins the control group where there is one, sets the limits (dash takes one at a time), becomes the program. The processor limit ends a
/// child that loops on after croft itself was killed.
const WRAPPER: &str = r#"[ -z "$1" ] || echo $$ >"$1" 2>/dev/null
ulimit -c 0
ulimit -v "$2"
ulimit -t "$3"
shift 3
exec "$@""#;

/// How often, and after how long each time, croft looks whether killed processes are gone.
const WAITS: u32 = 200;
const WAIT: Duration = Duration::from_millis(5);

/// A program to run, and its limits.
#[derive(Debug)]
pub(super) struct Launch {
    /// The program, as an absolute path.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<OsString>,
    /// Its whole environment.
    pub(super) env: Vec<(OsString, OsString)>,
    /// Address space in bytes.
    pub(super) memory: u64,
    /// The longest it may go without a line for croft.
    pub(super) silence: Duration,
    /// When it must be done.
    pub(super) deadline: Instant,
    /// Processor time after which the kernel ends it.
    pub(super) processor: Duration,
    /// Bytes on standard output, and in croft's own lines.
    pub(super) output_cap: u64,
    /// Bytes of standard error that are kept.
    pub(super) stderr_cap: usize,
}

/// The lines on standard error that are meant for croft.
#[derive(Debug)]
pub(super) struct Ear {
    /// How they start.
    pub(super) prefix: String,
    /// Where what follows goes.
    pub(super) sender: mpsc::Sender<String>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Exited(i32),
    /// By a signal that croft did not send.
    Signalled(i32),
    /// It said nothing for too long.
    Silent,
    /// The whole evaluation took too long.
    Late,
    /// The machine's memory limit.
    OutOfMemory,
    /// It printed too much.
    TooMuch,
    /// Croft was told to stop.
    Cancelled,
}

/// A child that is gone.
#[derive(Debug)]
pub(super) struct Ended {
    /// How.
    pub(super) end: End,
    /// What it printed.
    pub(super) stdout: Vec<u8>,
    /// The end of what it said, and its last error.
    pub(super) stderr: String,
}

/// Runs a child to its end. Dropping the future kills the child and all it started.
pub(super) async fn run(launch: Launch, ear: Option<Ear>, cancel: &CancellationToken) -> io::Result<Ended> {
    let cgroup = Cgroup::make(launch.memory);
    let mut child = command(&launch, cgroup.as_ref()).spawn()?;
    let group = Group { pid: child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)), cgroup };
    let mut streams = Streams::of(&mut child, &launch, ear);
    let end = streams.follow(&mut child, &group, &launch, cancel).await?;
    group.kill();
    child.wait().await?;
    group.wait_until_empty().await;
    let end = match end {
        End::Signalled(_) if group.ran_out_of_memory() => End::OutOfMemory,
        end => end,
    };
    Ok(Ended { end, stdout: streams.stdout, stderr: streams.keeper.into_text() })
}

fn command(launch: &Launch, cgroup: Option<&Cgroup>) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(WRAPPER)
        .arg("croft-limits")
        .arg(cgroup.map(Cgroup::door).unwrap_or_default())
        .arg((launch.memory / 1024).to_string())
        .arg(launch.processor.as_secs().max(1).to_string())
        .arg(&launch.program)
        .args(&launch.args)
        .env_clear()
        .envs(launch.env.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// The child's processes; dropping it kills them.
struct Group {
    pid: Option<Pid>,
    cgroup: Option<Cgroup>,
}

impl Group {
    fn kill(&self) {
        if let Some(pid) = self.pid {
            // It fails when no process is left, which is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
    }

    /// Waits until the killed processes are gone; not for ever, since one may hang in the kernel.
    async fn wait_until_empty(&self) {
        for _ in 0..WAITS {
            let is_empty = match (&self.cgroup, self.pid) {
                (Some(cgroup), _) => cgroup.is_empty(),
                (None, Some(pid)) => test_kill_process_group(pid).is_err(),
                (None, None) => true,
            };
            if is_empty {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    fn ran_out_of_memory(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

type Pipe = Box<dyn AsyncRead + Send + Unpin>;

/// What the child prints, as far as it was read.
struct Streams {
    out: Option<Pipe>,
    err: Option<Pipe>,
    stdout: Vec<u8>,
    keeper: StderrKeeper,
    ear: Option<Ear>,
}

impl Streams {
    fn of(child: &mut Child, launch: &Launch, ear: Option<Ear>) -> Self {
        let prefix = ear.as_ref().map(|ear| ear.prefix.as_str());
        Self {
            out: child.stdout.take().map(|pipe| Box::new(pipe) as Pipe),
            err: child.stderr.take().map(|pipe| Box::new(pipe) as Pipe),
            stdout: Vec::new(),
            keeper: StderrKeeper::new(prefix, launch.stderr_cap, launch.output_cap),
            ear,
        }
    }

    /// Reads until the child is gone and its pipes are empty, or a limit is met.
    async fn follow(
        &mut self,
        child: &mut Child,
        group: &Group,
        launch: &Launch,
        cancel: &CancellationToken,
    ) -> io::Result<End> {
        let mut ended = None;
        let mut silent_at = Instant::now() + launch.silence;
        let (mut out_chunk, mut err_chunk) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            if let (Some(end), None, None) = (ended, &self.out, &self.err) {
                return Ok(end);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(End::Cancelled),
                () = sleep_until(launch.deadline) => return Ok(End::Late),
                () = sleep_until(silent_at) => return Ok(End::Silent),
                status = child.wait(), if ended.is_none() => {
                    ended = Some(end_of(status?));
                    // Whoever is left of the group would hold the pipes open.
                    group.kill();
                }
                read = read(&mut self.err, &mut err_chunk) => {
                    let said = self.take_err(&err_chunk[..read?]).await;
                    match said {
                        Ok(0) => {}
                        Ok(_) => silent_at = Instant::now() + launch.silence,
                        Err(TooMuch) => return Ok(End::TooMuch),
                    }
                }
                read = read(&mut self.out, &mut out_chunk) => {
                    if !self.take_out(&out_chunk[..read?], launch.output_cap) {
                        return Ok(End::TooMuch);
                    }
                }
            }
        }
    }

    /// Takes what was read from standard error; the result is how many of its lines were for croft.
    async fn take_err(&mut self, bytes: &[u8]) -> Result<usize, TooMuch> {
        if bytes.is_empty() {
            self.err = None;
        }
        let lines = self.keeper.push(bytes)?;
        let count = lines.len();
        if let Some(ear) = &self.ear {
            for line in lines {
                // Nobody listens any more when the evaluation was given up, which also cancels this child.
                let _ = ear.sender.send(line).await;
            }
        }
        Ok(count)
    }

    fn take_out(&mut self, bytes: &[u8], cap: u64) -> bool {
        if bytes.is_empty() {
            self.out = None;
        }
        self.stdout.extend_from_slice(bytes);
        self.stdout.len() as u64 <= cap
    }
}

/// The next bytes of a pipe; never ready once it is closed. Cancel safe.
async fn read(pipe: &mut Option<Pipe>, chunk: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(chunk).await,
        None => std::future::pending().await,
    }
}

fn end_of(status: std::process::ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Signalled(signal.unwrap_or(0)),
    }
}
