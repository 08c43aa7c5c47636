//! An independent EC2 and S3: the server of moto, in a virtual environment that is made once and kept in the user's
//! cache. Several programs that need it at once wait for the one that makes it.

#![allow(dead_code, clippy::allow_attributes, reason = "each program uses its part of this")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and speak")]

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

/// What is installed.
const VERSION: &str = "5.2.5";
/// What of it is used.
const PARTS: &str = "server,ec2,s3";
/// How long it may take to start. It reads a large list of images first.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server of moto. Ends when it is dropped, or with this process.
pub(crate) struct Moto {
    endpoint: String,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Moto {
    /// Starts one on a free port of loopback; none, with a word why, where that cannot be done.
    pub(crate) fn start() -> Option<Self> {
        Self::in_network(&[])
    }

    /// Starts one by way of a program that leads into another network, whose words are `way`.
    pub(crate) fn in_network(way: &[String]) -> Option<Self> {
        let program = match install() {
            Ok(program) => program,
            Err(why) => {
                eprintln!("skipped: moto cannot be installed: {why}");
                return None;
            }
        };
        // Another may take the port between this and moto's start; then moto ends at once.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(server) = Self::on_port(&program, port, way) {
                return Some(server);
            }
        }
        panic!("moto has not started on any of five ports");
    }

    fn on_port(program: &Path, port: u16, way: &[String]) -> Option<Self> {
        let words: Vec<String> = ["setpriv", "--pdeathsig", "KILL", "--"].map(str::to_owned).to_vec();
        let own =
            [program.display().to_string(), "-H".into(), "127.0.0.1".into(), "-p".into(), port.to_string()];
        let words = [way.to_vec(), words, own.to_vec()].concat();
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        // It dies with the thread that started it, so that thread waits.
        let keeper = std::thread::spawn(move || {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            tell.send(is_up(&mut child, port, &words)).unwrap();
            // An error means that nobody waits any more.
            stopped.recv().ok();
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let server =
            Self { endpoint: format!("http://127.0.0.1:{port}"), stop: Some(stop), keeper: Some(keeper) };
        told.recv().unwrap().then_some(server)
    }

    /// Where it listens, as a URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where it listens, as host and port.
    pub(crate) fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // If it has panicked there is nothing left to stop.
            keeper.join().ok();
        }
    }
}

/// Whether it answers, once it does or has ended.
fn is_up(child: &mut Child, port: u16, words: &[String]) -> bool {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "{words:?} does not answer");
        if answers(port, words) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn answers(port: u16, words: &[String]) -> bool {
    // In another network only a process there can tell.
    if words.first().is_some_and(|word| word == "nsenter") {
        let end = words.iter().position(|word| word == "--").unwrap();
        let probe = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..=end]).args(["bash", "-c", &probe]).stderr(Stdio::null());
        return command.status().is_ok_and(|status| status.success());
    }
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let asked = stream.write_all(b"GET /moto-api/data.json HTTP/1.0\r\n\r\n");
    asked.is_ok() && stream.read(&mut [0; 16]).is_ok_and(|read| read > 0)
}

/// The program, made if it is not there yet.
fn install() -> Result<PathBuf, String> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).ok_or("there is no HOME")?;
    let dir = cache.join("croft/moto");
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    // The kernel frees the lock at any kind of death.
    let lock = File::create(dir.join("lock")).map_err(|error| error.to_string())?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
    // What it is made of is its name, so that it is made anew when that changes.
    let made = dir.join(format!("{VERSION}-{}", PARTS.replace(',', "-")));
    let done = made.join("installed");
    if !done.exists() {
        // What an installation that was killed has left.
        fs::remove_dir_all(&made).ok();
        let made = made.display().to_string();
        run("python3", &["-m", "venv", &made])?;
        let pip = format!("{made}/bin/pip");
        let wanted = format!("moto[{PARTS}]=={VERSION}");
        run(&pip, &["install", "--quiet", "--disable-pip-version-check", &wanted])?;
        fs::write(&done, "").map_err(|error| error.to_string())?;
    }
    Ok(made.join("bin/moto_server"))
}

/// Runs a program that dies with this process, so that none goes on writing when another begins anew.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]).args(args).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
