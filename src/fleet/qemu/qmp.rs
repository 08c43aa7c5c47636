//! The little of QEMU's machine protocol that is needed: one command on a connection of its own.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest line, and how many events may come before an answer.
const LINE: u64 = 64 * 1024;
const EVENTS: usize = 64;

/// What is asked of a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Only whether it is there.
    Greet,
    /// Press the power button: the guest ends what it does and powers itself off.
    PowerDown,
    /// End at once.
    Quit,
}

/// Sends one command through the socket `qmp` in `dir`.
pub(super) fn send(dir: &Path, command: Command) -> io::Result<()> {
    // A socket's path may be short only; that of the folder need not be.
    let folder = File::open(dir)?;
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/qmp", folder.as_raw_fd()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    line(&mut reader)?;
    let name = match command {
        Command::Greet => return Ok(()),
        Command::PowerDown => "system_powerdown",
        Command::Quit => "quit",
    };
    for name in ["qmp_capabilities", name] {
        stream.write_all(format!("{{\"execute\":\"{name}\"}}\n").as_bytes())?;
        answer(&mut reader)?;
    }
    Ok(())
}

/// Reads until the answer of the last command; events in between are of no interest.
fn answer(reader: &mut impl BufRead) -> io::Result<()> {
    for _ in 0..EVENTS {
        let message: serde_json::Value = serde_json::from_str(&line(reader)?)?;
        if let Some(error) = message.get("error") {
            return Err(io::Error::other(error.to_string()));
        }
        if message.get("return").is_some() {
            return Ok(());
        }
    }
    Err(io::Error::other("only events, and no answer"))
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match reader.by_ref().take(LINE).read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}
