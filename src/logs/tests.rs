#![expect(clippy::print_stderr, reason = "measurements and skips are told")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fs_err as fs;
use futures_util::StreamExt as _;

use super::*;
use crate::{clock::Timestamp, task};

struct Scene {
    dir: tempfile::TempDir,
    attempt: AttemptId,
}

impl Scene {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), attempt: AttemptId::new(Timestamp::from_millis(1)) }
    }

    fn writer(&self, limits: LogLimits) -> LogWriter {
        LogWriter::create(self.dir.path(), self.attempt, limits)
    }

    fn reader(&self) -> LogReader {
        LogReader::open(self.dir.path(), self.attempt).unwrap()
    }

    fn path(&self) -> PathBuf {
        log_path(self.dir.path(), self.attempt)
    }

    /// A finished log of `lines`.
    fn written(&self, lines: impl IntoIterator<Item = String>) -> LogSummary {
        let mut writer = self.writer(LogLimits::default());
        for line in lines {
            writer.append(line.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }
}

fn numbered(count: u64) -> impl Iterator<Item = String> {
    (1..=count).map(|n| format!("line {n} {:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn text(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
}

#[test]
fn an_empty_log_has_no_file() {
    let scene = Scene::new();
    assert_eq!(scene.written([]), LogSummary::default());
    assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 0);
    let reader = scene.reader();
    assert_eq!((reader.state(), reader.line_count()), (LogState::Absent, 0));
    assert_eq!(reader.tail(10).unwrap(), []);
}

#[test]
fn a_log_is_read_at_any_line() {
    let scene = Scene::new();
    let wanted: Vec<String> = numbered(20_000).collect();
    let summary = scene.written(wanted.clone());
    let reader = scene.reader();
    assert_eq!(reader.state(), LogState::Finished);
    assert_eq!((reader.line_count(), reader.byte_count()), (20_000, summary.bytes));
    assert_eq!(text(&reader.lines(0..u64::MAX).unwrap()), wanted);
    for line in [1, 2, 1_999, 2_000, 10_001, 20_000] {
        let found = reader.lines(line..line + 2).unwrap();
        assert_eq!(found[0].number, line);
        assert_eq!(text(&found)[0], wanted[usize::try_from(line).unwrap() - 1]);
    }
    assert_eq!(reader.lines(20_001..u64::MAX).unwrap(), []);
    assert_eq!(text(&reader.tail(3).unwrap()), wanted[19_997..]);
    let whole: Vec<u8> = reader.pieces().unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(whole.len() as u64, summary.bytes);
}

#[test]
fn zstd_prints_the_file() {
    let scene = Scene::new();
    scene.written(numbered(5_000));
    let printed = zstd::stream::decode_all(fs::File::open(scene.path()).unwrap()).unwrap();
    assert_eq!(
        printed,
        numbered(5_000).fold(Vec::new(), |mut all, line| {
            all.extend(line.into_bytes());
            all.push(b'\n');
            all
        })
    );
    match std::process::Command::new("zstd").arg("-dc").arg(scene.path()).output() {
        Ok(output) => assert_eq!(output.stdout, printed),
        Err(_) => eprintln!("skipped: no zstd program here"),
    }
}

#[test]
fn every_prefix_of_a_file_is_read_as_far_as_it_is_whole() {
    let scene = Scene::new();
    let mut writer = scene.writer(LogLimits::default());
    for line in numbered(30) {
        writer.append(line.as_bytes()).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap();
    let whole = fs::read(scene.path()).unwrap();
    let wanted: Vec<String> = numbered(30).collect();
    let mut before = 0;
    for length in 0..whole.len() {
        fs::write(scene.path(), &whole[..length]).unwrap();
        let reader = scene.reader();
        assert_eq!(reader.state(), LogState::Growing);
        let lines = text(&reader.lines(1..u64::MAX).unwrap());
        assert_eq!(lines, wanted[..lines.len()]);
        assert!(lines.len() >= before);
        before = lines.len();
    }
    assert_eq!(before, 30);
}

#[test]
fn a_changed_byte_is_an_error_or_a_shorter_log_but_never_a_wrong_line() {
    let scene = Scene::new();
    let mut writer = scene.writer(LogLimits::default());
    for line in numbered(12) {
        writer.append(line.as_bytes()).unwrap();
        writer.flush().unwrap();
    }
    let frames = fs::metadata(scene.path()).unwrap().len();
    writer.finish().unwrap();
    let whole = fs::read(scene.path()).unwrap();
    let wanted: Vec<String> = numbered(12).collect();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        fs::write(scene.path(), &changed).unwrap();
        match scene.reader().lines(1..u64::MAX) {
            Ok(lines) if (at as u64) < frames => assert!(wanted.starts_with(&text(&lines)), "byte {at}"),
            Ok(_) | Err(LogError::Corrupt { .. }) => {}
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn a_flushed_line_is_seen_before_the_end() {
    let scene = Scene::new();
    let mut writer = scene.writer(LogLimits::default());
    writer.append(b"first").unwrap();
    assert_eq!(scene.reader().state(), LogState::Absent);
    writer.flush().unwrap();
    let mut reader = scene.reader();
    assert_eq!(text(&reader.tail(9).unwrap()), ["first"]);
    writer.append(b"second").unwrap();
    writer.flush().unwrap();
    writer.flush().unwrap();
    reader.refresh().unwrap();
    assert_eq!(text(&reader.tail(9).unwrap()), ["first", "second"]);
    assert_eq!(reader.state(), LogState::Growing);
    drop(writer);
    assert_eq!(text(&scene.reader().tail(9).unwrap()), ["first", "second"]);
}

#[test]
fn a_long_log_keeps_its_start_and_its_end() {
    let scene = Scene::new();
    let mut writer =
        scene.writer(LogLimits { max_bytes: 300_000, tail_bytes: 1_000, ..LogLimits::default() });
    for line in numbered(100_000) {
        writer.append(line.as_bytes()).unwrap();
    }
    let summary = writer.finish().unwrap();
    let total: u64 = numbered(100_000).map(|line| line.len() as u64 + 1).sum();
    assert!(summary.truncated() && summary.bytes <= 300_000 + 200, "{summary:?}");
    let reader = scene.reader();
    assert_eq!(reader.dropped_bytes(), summary.dropped_bytes);
    let lines = text(&reader.lines(1..u64::MAX).unwrap());
    let note = lines.iter().position(|line| line.starts_with("[croft: ")).unwrap();
    assert!(
        lines[note].contains(&format!("{} lines ({} bytes)", summary.dropped_lines, summary.dropped_bytes))
    );
    assert_eq!(lines.len() as u64 - 1 + summary.dropped_lines, 100_000);
    assert_eq!(summary.bytes - lines[note].len() as u64 - 1 + summary.dropped_bytes, total);
    assert_eq!(lines[..note], numbered(100_000).take(note).collect::<Vec<_>>());
    assert_eq!(lines.last(), numbered(100_000).last().as_ref());
}

#[test]
fn a_log_that_just_fits_loses_nothing() {
    let scene = Scene::new();
    let total: u64 = numbered(1_000).map(|line| line.len() as u64 + 1).sum();
    let mut writer = scene.writer(LogLimits { max_bytes: total, tail_bytes: 500, ..LogLimits::default() });
    for line in numbered(1_000) {
        writer.append(line.as_bytes()).unwrap();
    }
    assert!(!writer.finish().unwrap().truncated());
    assert_eq!(text(&scene.reader().lines(1..u64::MAX).unwrap()), numbered(1_000).collect::<Vec<_>>());
}

#[test]
fn hostile_lines_are_kept_as_they_are_or_cut() {
    let scene = Scene::new();
    let mut writer = scene.writer(LogLimits { line_bytes: 100, ..LogLimits::default() });
    let odd = b"\0\xff\xfe\x1b[31m\r croftidx".to_vec();
    writer.append(&odd).unwrap();
    writer.append(&vec![b'x'; 10 << 20]).unwrap();
    writer.append(b"two\nlines").unwrap();
    let summary = writer.finish().unwrap();
    assert_eq!((summary.lines, summary.dropped_bytes), (4, (10 << 20) - 100));
    let lines = scene.reader().lines(1..9).unwrap();
    assert_eq!(lines[0].bytes, odd);
    assert!(lines[1].bytes.ends_with(b"xx [croft: 10485660 more bytes of this line are left out]"));
    assert_eq!(text(&lines[2..]), ["two", "lines"]);
}

#[test]
fn a_flood_of_empty_lines_is_cheap() {
    let scene = Scene::new();
    let mut writer =
        scene.writer(LogLimits { max_bytes: 1 << 20, tail_bytes: 1 << 10, ..LogLimits::default() });
    for _ in 0..2_000_000 {
        writer.append(b"").unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(summary.lines - 1 + summary.dropped_lines, 2_000_000);
    assert!(fs::metadata(scene.path()).unwrap().len() < 10_000);
}

#[test]
fn a_search_counts_lines_and_names_the_first() {
    let scene = Scene::new();
    scene.written(
        (1..=10_000).map(|n| if n % 1_000 == 7 { format!("{n} needle needle") } else { "hay".repeat(20) }),
    );
    let reader = scene.reader();
    let hits = reader.search(b"needle", 3).unwrap();
    assert_eq!(hits, LogHits { lines: vec![7, 1_007, 2_007], total: 10 });
    assert_eq!(reader.search(b"absent", 3).unwrap(), LogHits::default());
    assert_eq!(reader.search(b"", 3).unwrap(), LogHits::default());
}

#[test]
fn errors_name_the_file() {
    let scene = Scene::new();
    let folder = scene.path().parent().unwrap().to_owned();
    fs::write(&folder, "in the way").unwrap();
    let mut writer = scene.writer(LogLimits::default());
    writer.append(b"x").unwrap();
    let error = writer.flush().unwrap_err();
    assert!(matches!(error, LogError::Io { .. }) && error.to_string().contains(".zst"), "{error}");
    assert!(matches!(writer.append(b"y").unwrap_err(), LogError::GivenUp { .. }));
    assert!(matches!(writer.finish().unwrap_err(), LogError::GivenUp { .. }));
}

#[test]
fn a_log_is_never_written_twice() {
    let scene = Scene::new();
    scene.written(numbered(3));
    let mut second = scene.writer(LogLimits::default());
    second.append(b"other").unwrap();
    assert!(matches!(second.finish().unwrap_err(), LogError::Io { .. }));
    assert_eq!(scene.reader().line_count(), 3);
}

/// A file system of 256 KiB, for root only.
#[test]
fn a_full_disk_is_told_and_what_was_written_is_kept() {
    let scene = Scene::new();
    let mount = |program: &str, args: &[&str]| {
        let status = std::process::Command::new(program).args(args).arg(scene.dir.path()).output();
        status.is_ok_and(|output| output.status.success())
    };
    if !mount("mount", &["-t", "tmpfs", "-o", "size=256k", "croft-test"]) {
        eprintln!("skipped: no right to mount here");
        return;
    }
    let mut writer = scene.writer(LogLimits::default());
    let mut random = 1_u64;
    let mut noise = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{random:x}").repeat(3)
    };
    let error = (0..100_000).find_map(|_| writer.append(noise().as_bytes()).err());
    let kept = LogReader::open(scene.dir.path(), scene.attempt).map(|reader| reader.line_count());
    drop(writer);
    assert!(mount("umount", &[]));
    assert!(matches!(error, Some(LogError::DiskFull { .. })), "{error:?}");
    assert!(kept.unwrap() > 0);
}

#[tokio::test]
async fn a_follower_sees_each_line_once_and_ends_with_the_log() {
    let scene = Scene::new();
    let options = Follow { from: 2, every: Duration::from_millis(1) };
    let lines = follow(scene.dir.path(), scene.attempt, options, || false).unwrap();
    let mut writer = scene.writer(LogLimits::default());
    let write = task::blocking("write a log", move || {
        for line in numbered(3_000) {
            writer.append(line.as_bytes()).unwrap();
            if line.len() % 7 == 0 {
                writer.flush().unwrap();
            }
        }
        writer.finish().unwrap()
    });
    let (seen, summary) = tokio::join!(lines.map(Result::unwrap).concat(), write);
    assert_eq!(seen.len() as u64, summary.unwrap().lines - 1);
    assert_eq!(text(&seen), numbered(3_000).skip(1).collect::<Vec<_>>());
    assert!(seen.iter().zip(2..).all(|(line, number)| line.number == number));
}

#[tokio::test]
async fn a_follower_ends_when_nobody_writes_any_more() {
    let scene = Scene::new();
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let options = Follow { every: Duration::from_millis(1), ..Follow::default() };
    let lines =
        follow(scene.dir.path(), scene.attempt, options, move || told.load(Ordering::SeqCst)).unwrap();
    let mut lines = Box::pin(lines);
    let mut writer = scene.writer(LogLimits::default());
    writer.append(b"last words").unwrap();
    writer.flush().unwrap();
    drop(writer);
    assert_eq!(text(&lines.next().await.unwrap().unwrap()), ["last words"]);
    ended.store(true, Ordering::SeqCst);
    assert!(lines.next().await.is_none());
}

/// Prints what 500 short logs cost.
#[test]
fn short_logs_are_cheap() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    for n in 0..500 {
        let attempt = AttemptId::new(Timestamp::from_millis(n));
        let mut writer = LogWriter::create(dir.path(), attempt, LogLimits::default());
        writer.append(b"building '/nix/store/x.drv'").unwrap();
        writer.append(b"ok").unwrap();
        writer.finish().unwrap();
    }
    eprintln!("500 short logs: {:?} each", started.elapsed() / 500);
}

/// Prints what the later goals cost: a line of a 100 MB log, a search of all of it.
#[test]
#[ignore = "a measurement of some seconds"]
fn measure_a_long_log() {
    let scene = Scene::new();
    let started = Instant::now();
    let mut writer = scene.writer(LogLimits { max_bytes: 200 << 20, ..LogLimits::default() });
    for n in 0..1_000_000_u64 {
        let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writer.append(format!("test_{n} (module.tests.SomethingTests.test_{word:x}) ... ok and some more words of a log {n}").as_bytes()).unwrap();
    }
    let summary = writer.finish().unwrap();
    eprintln!(
        "write {} bytes: {:?}; {} on disk",
        summary.bytes,
        started.elapsed(),
        fs::metadata(scene.path()).unwrap().len()
    );
    let started = Instant::now();
    let reader = scene.reader();
    eprintln!("open: {:?}", started.elapsed());
    for line in [1, 500_000, 999_999] {
        let started = Instant::now();
        assert_eq!(reader.lines(line..line + 1).unwrap().len(), 1);
        eprintln!("line {line}: {:?}", started.elapsed());
    }
    let started = Instant::now();
    eprintln!("search: {:?} {} hits", started.elapsed(), reader.search(b"test_999999 ", 10).unwrap().total);
    let started = Instant::now();
    let hits = reader.search(b"test_999999 ", 10).unwrap();
    eprintln!("search: {:?} {} hits", started.elapsed(), hits.total);
    let started = Instant::now();
    eprintln!("tail: {:?}", (reader.tail(500).unwrap().len(), started.elapsed()));
    let file = fs::read(scene.path()).unwrap();
    fs::write(scene.path(), &file[..file.len() - 100]).unwrap();
    let started = Instant::now();
    let scanned = scene.reader();
    eprintln!("open without index: {:?} {} lines", started.elapsed(), scanned.line_count());
}
