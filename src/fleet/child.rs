//! One child process that answers a question: bounded in time and output, and killed with its whole process group.

use std::{io, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep_until},
};

/// How long pipes may stay open after their process has ended: a program it left behind may hold them.
const LINGER: Duration = Duration::from_secs(1);
const CHUNK: usize = 16 * 1024;

/// A program to run.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The program and its arguments.
    pub(super) words: &'a [String],
    /// One argument more.
    pub(super) verb: &'a str,
    /// What it reads on its standard input.
    pub(super) input: &'a [u8],
    /// How long it may take.
    pub(super) timeout: Duration,
    /// The most it may write on its standard output, in bytes.
    pub(super) most: usize,
    /// How much is kept of the end of its standard error.
    pub(super) kept: usize,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that was not croft's.
    Signalled,
    /// It took too long.
    Late,
    /// It wrote too much.
    TooMuch,
}

/// A child that is gone.
#[derive(Debug)]
pub(super) struct Done {
    /// How.
    pub(super) end: End,
    /// Its standard output.
    pub(super) stdout: Vec<u8>,
    /// The end of its standard error.
    pub(super) stderr: Vec<u8>,
}

/// Runs a program to its end. Dropping the future kills it and all of its process group.
pub(super) async fn run(call: &Call<'_>) -> io::Result<Done> {
    let [program, arguments @ ..] = call.words else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no program is given"));
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(call.verb);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let mut pipes = Pipes {
        input: child.stdin.take(),
        out: child.stdout.take().map(|pipe| Box::new(pipe) as Pipe),
        err: child.stderr.take().map(|pipe| Box::new(pipe) as Pipe),
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let end = pipes.follow(&mut child, &group, call).await?;
    group.kill();
    child.wait().await?;
    let from = pipes.stderr.len().saturating_sub(call.kept);
    Ok(Done { end, stdout: pipes.stdout, stderr: pipes.stderr.split_off(from) })
}

/// The child's processes; dropping it kills them.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        if let Some(pid) = self.0 {
            // It fails when no process is left, which is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

type Pipe = Box<dyn AsyncRead + Send + Unpin>;

struct Pipes {
    input: Option<ChildStdin>,
    out: Option<Pipe>,
    err: Option<Pipe>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Pipes {
    async fn follow(&mut self, child: &mut Child, group: &Group, call: &Call<'_>) -> io::Result<End> {
        let deadline = Instant::now() + call.timeout;
        let mut linger = deadline;
        let mut ended = None;
        let mut written = 0;
        let (mut out_chunk, mut err_chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
        loop {
            if let (Some(end), None, None) = (ended, &self.out, &self.err) {
                return Ok(end);
            }
            if written == call.input.len() {
                self.input = None;
            }
            tokio::select! {
                biased;
                () = sleep_until(linger) => return Ok(ended.unwrap_or(End::Late)),
                status = child.wait(), if ended.is_none() => {
                    ended = Some(status?.code().map_or(End::Signalled, End::Exited));
                    group.kill();
                    linger = deadline.min(Instant::now() + LINGER);
                }
                count = write(&mut self.input, &call.input[written..]) => match count {
                    Ok(count) => written += count,
                    // It does not want to read on; what it says decides.
                    Err(_) => self.input = None,
                },
                count = read(&mut self.err, &mut err_chunk) => {
                    let count = count?;
                    self.stderr.extend_from_slice(&err_chunk[..count]);
                    if count == 0 {
                        self.err = None;
                    }
                    if self.stderr.len() > 2 * (call.kept + CHUNK) {
                        self.stderr.drain(..self.stderr.len() - call.kept);
                    }
                }
                count = read(&mut self.out, &mut out_chunk) => {
                    let count = count?;
                    self.stdout.extend_from_slice(&out_chunk[..count]);
                    if count == 0 {
                        self.out = None;
                    }
                    if self.stdout.len() > call.most {
                        return Ok(End::TooMuch);
                    }
                }
            }
        }
    }
}

/// The next bytes of a pipe; never ready once it is closed. Cancel safe.
async fn read(pipe: &mut Option<Pipe>, chunk: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(chunk).await,
        None => std::future::pending().await,
    }
}

/// Writes a part; never ready once the pipe is closed. Cancel safe.
async fn write(pipe: &mut Option<ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.write(bytes).await,
        None => std::future::pending().await,
    }
}
