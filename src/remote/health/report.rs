//! What a machine answers, and how it is read: with bounds, as anything from a machine.

use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;

use super::is_low;
use crate::{
    clock::Timestamp,
    report::{Colours, terminal_line},
};

/// The longest notice that is shown, in characters.
const MAX_NOTICE: usize = 500;
/// The highest load that is believed.
const MAX_LOAD: f64 = 1e6;

/// How a machine is.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Room on its disks.
    pub disks: Disks,
    /// Processes that want to run, on average of the last minute.
    pub load: f64,
    /// Memory in bytes.
    pub memory: u64,
    /// Memory that can still be had, in bytes.
    pub memory_available: u64,
    /// How far its clock is ahead of ours, in milliseconds; negative if behind. Off by half of `round_trip` at most.
    pub clock_ahead: i64,
    /// How long the answer took.
    pub round_trip: Duration,
    /// Whether it has renewed its lease.
    pub lease_renewed: bool,
    /// That it will be taken away, in its words, harmless to a terminal.
    pub notice: Option<String>,
}

/// Room where builds need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disks {
    /// Of the store.
    pub store: Disk,
    /// Where builds work.
    pub build: Disk,
    /// Of `/tmp`.
    pub tmp: Disk,
}

impl Disks {
    /// Whether any of them has no room for a build.
    pub fn is_full(&self) -> bool {
        [self.store, self.build, self.tmp].iter().any(Disk::is_full)
    }

    /// The least that is free on any of them, in bytes.
    pub fn least_free(&self) -> u64 {
        [self.store, self.build, self.tmp].iter().map(|disk| disk.free_bytes).min().unwrap_or_default()
    }
}

/// Room of one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// In bytes. 0 if the machine could not tell.
    pub bytes: u64,
    /// In bytes, as far as others than root may use it.
    pub free_bytes: u64,
    /// How many files it can have; 0 if there is no limit.
    pub inodes: u64,
    /// How many more files it can have.
    pub free_inodes: u64,
}

impl Disk {
    /// Whether it has no room for a build. One of which nothing is known is not full.
    pub fn is_full(&self) -> bool {
        self.bytes > 0 && is_low(self.free_bytes, self.inodes, self.free_inodes)
    }
}

/// The line as it comes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    word: String,
    renewed: bool,
    time: String,
    store: [u64; 5],
    build: [u64; 5],
    tmp: [u64; 5],
    load: f64,
    memory: [u64; 2],
    notice: String,
}

/// An answer that was read, and to which question.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) word: String,
    pub(super) disks: Disks,
    line: Line,
}

impl Answer {
    /// Reads a line. The error says what is wrong with it.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if !(0.0..=MAX_LOAD).contains(&line.load) {
            return Err(format!("a load of {}", line.load));
        }
        let disks = Disks { store: disk(line.store)?, build: disk(line.build)?, tmp: disk(line.tmp)? };
        Ok(Self { word: line.word.clone(), disks, line })
    }

    /// What it says, given when it was asked for and how long it took.
    pub(super) fn health(self, asked: Timestamp, round_trip: Duration) -> Result<Health, String> {
        let middle = asked.plus(round_trip / 2).as_millis();
        let kib = |amount: u64| amount.checked_mul(1024).ok_or_else(|| format!("{amount} KiB of memory"));
        Ok(Health {
            disks: self.disks,
            load: self.line.load,
            memory: kib(self.line.memory[0])?,
            memory_available: kib(self.line.memory[1])?,
            clock_ahead: ahead(epoch_millis(&self.line.time)?, middle),
            round_trip,
            lease_renewed: self.line.renewed,
            notice: notice(&self.line.notice)?,
        })
    }
}

fn disk([size, blocks, free, inodes, free_inodes]: [u64; 5]) -> Result<Disk, String> {
    let bytes = |count: u64| size.checked_mul(count).ok_or_else(|| format!("{count} blocks of {size} bytes"));
    Ok(Disk { bytes: bytes(blocks)?, free_bytes: bytes(free)?, inodes, free_inodes })
}

/// Milliseconds, or seconds followed by what a `date` without milliseconds makes of the rest.
fn epoch_millis(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse::<u64>().ok();
    let millis = match digits {
        13 if digits == text.len() => number,
        10 => number.map(|seconds| seconds * 1000),
        _ => None,
    };
    millis.ok_or_else(|| format!("the time {:?}", text.chars().take(40).collect::<String>()))
}

fn ahead(theirs: u64, ours: u64) -> i64 {
    let span = |a: u64, b: u64| i64::try_from(a - b).unwrap_or(i64::MAX);
    if theirs >= ours { span(theirs, ours) } else { -span(ours, theirs) }
}

fn notice(encoded: &str) -> Result<Option<String>, String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded);
    let bytes = bytes.map_err(|error| format!("the notice: {error}"))?;
    let line = terminal_line(bytes.trim_ascii(), Colours::Drop, MAX_NOTICE);
    Ok(Some(line).filter(|line| !line.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"word":"7","renewed":true,"time":"1700000005123","store":[4096,100000,50000,1000,900],
        "build":[4096,10,5,0,0],"tmp":[0,0,0,0,0],"load":0.25,"memory":[2048,1024],"notice":"dGVybWluYXRlIBtbMzFtMTI6MDAK"}"#;

    #[test]
    fn a_line_is_read_and_the_clock_compared_with_the_middle_of_the_round_trip() {
        let answer = Answer::parse(LINE.as_bytes()).unwrap();
        assert_eq!(answer.word, "7");
        let asked = Timestamp::from_millis(1_700_000_000_000);
        let health = answer.health(asked, Duration::from_millis(246)).unwrap();
        assert_eq!(health.clock_ahead, 5000);
        assert_eq!(health.disks.store.free_bytes, 50_000 * 4096);
        assert_eq!((health.memory, health.memory_available), (2 << 20, 1 << 20));
        assert_eq!(health.notice.as_deref(), Some("terminate 12:00"));
        assert!(health.lease_renewed && !health.disks.store.is_full() && !health.disks.tmp.is_full());
        assert!(health.disks.build.is_full() && health.disks.is_full());
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for (from, to) in [
            ("0.25", "-1"),
            ("0.25", "1e300"),
            ("[4096,100000", "[18446744073709551615,2"),
            ("[4096,100000", "[-1,2"),
            ("\"word\"", "\"more\":1,\"word\""),
            ("1700000005123", "17"),
            ("1700000005123", "soon"),
            ("dGVy", "****"),
            ("[2048", "[18446744073709551615"),
        ] {
            let line = LINE.replace(from, to);
            assert_ne!(line, LINE);
            let read = Answer::parse(line.as_bytes())
                .and_then(|answer| answer.health(Timestamp::default(), Duration::ZERO));
            assert!(read.is_err(), "{line}");
        }
        assert_eq!(epoch_millis("1700000005%3N"), Ok(1_700_000_005_000), "a date without milliseconds");
    }
}
