//! `croft log`: the log of an attempt.

use futures_util::StreamExt;

use super::{
    args::{Common, LogArgs},
    exit::CliError,
    farm, out,
    out::Dress,
    show::{Subject, find},
};
use crate::{
    config::Config,
    db::Db,
    ids::AttemptId,
    logs::{Follow, LogLine, LogReader, LogState, follow},
    report::{Colours, terminal_line},
};

/// The longest line that is shown, in characters; `--raw` shows all.
const MAX_LINE: usize = 4_000;
/// How often a log that grows is looked at.
const POLL: std::time::Duration = std::time::Duration::from_millis(250);
/// Lines that are read at once.
const AT_ONCE: u64 = 2_000;

/// Prints a log.
pub(super) async fn run(common: &Common, args: LogArgs) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let db = farm::database(&config).await?;
    let attempt = attempt_of(&db, &args.what, args.follow).await?;
    let print = Printer { raw: args.raw, colours: colours(Dress::stdout(common.color)) };
    if args.follow {
        return print_growing(&db, &config, attempt, &args, &print).await;
    }
    let reader = LogReader::open(&config.state_dir.join("logs"), attempt)?;
    if reader.state() == LogState::Absent {
        out::say(&format!("attempt {attempt} wrote no log"));
    }
    let first = args.tail.map_or(1, |tail| (reader.line_count() + 1).saturating_sub(tail).max(1));
    let mut next = first;
    while next <= reader.line_count() {
        let lines = reader.lines(next..next + AT_ONCE)?;
        next += AT_ONCE;
        print.lines(&lines);
    }
    Ok(0)
}

/// The attempt whose log is meant: the one named, else the newest on the key, else that of what blocks the cell. One
/// that follows waits for it to begin.
async fn attempt_of(db: &Db, what: &str, follow: bool) -> Result<AttemptId, CliError> {
    if let Ok(attempt) = what.parse::<AttemptId>() {
        return Ok(attempt);
    }
    loop {
        let (key, is_final, blocker) = match find(db, what).await? {
            Subject::Cells(cells) => (cells[0].key, cells[0].state.is_final(), cells[0].attempt),
            Subject::Key { attempts, .. } => (attempts.first().map(|attempt| attempt.key), true, None),
            Subject::Run(_) | Subject::Tests(_) => {
                let message =
                    format!("{what} is no cell, key or attempt; `croft show {what}` shows what it is");
                return Err(CliError::Usage(message));
            }
        };
        let newest = match key {
            Some(key) => db.attempt_list(key, 1).await?.into_iter().next(),
            None => None,
        };
        match newest {
            // A cell that has not come to rest is about to get an attempt of its own.
            Some(attempt) if is_final || attempt.outcome.is_none() => return Ok(attempt.id),
            Some(attempt) if !follow => return Ok(attempt.id),
            None if is_final || !follow => {
                return blocker.ok_or_else(|| {
                    CliError::Usage(format!("{what} has no attempt yet, so there is no log"))
                });
            }
            Some(_) | None => tokio::time::sleep(POLL).await,
        }
    }
}

async fn print_growing(
    db: &Db,
    config: &Config,
    attempt: AttemptId,
    args: &LogArgs,
    print: &Printer,
) -> Result<u8, CliError> {
    let logs = config.state_dir.join("logs");
    let from = match args.tail {
        Some(tail) => (LogReader::open(&logs, attempt)?.line_count() + 1).saturating_sub(tail).max(1),
        None => 1,
    };
    let ended = attempt_watch(db, attempt);
    let mut lines = Box::pin(follow(&logs, attempt, Follow { from, ..Follow::default() }, ended)?);
    while let Some(lines) = lines.next().await {
        print.lines(&lines?);
    }
    Ok(0)
}

/// Tells when the attempt has ended, kept up to date beside the reading of its log.
fn attempt_watch(db: &Db, attempt: AttemptId) -> impl Fn() -> bool + Send + 'static {
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let tell = std::sync::Arc::clone(&ended);
    let db = db.clone();
    crate::task::spawn("watch attempt", async move {
        loop {
            match db.attempt_get(attempt).await {
                Ok(record) if record.outcome.is_none() => {}
                Ok(_) | Err(_) => break tell.store(true, std::sync::atomic::Ordering::Release),
            }
            tokio::time::sleep(POLL).await;
        }
    });
    move || ended.load(std::sync::atomic::Ordering::Acquire)
}

struct Printer {
    raw: bool,
    colours: Colours,
}

fn colours(dress: Dress) -> Colours {
    match dress {
        Dress::Coloured => Colours::Keep,
        Dress::Plain => Colours::Drop,
    }
}

impl Printer {
    fn lines(&self, lines: &[LogLine]) {
        let mut text = Vec::new();
        for line in lines {
            if self.raw {
                text.extend_from_slice(&line.bytes);
            } else {
                text.extend_from_slice(terminal_line(&line.bytes, self.colours, MAX_LINE).as_bytes());
            }
            text.push(b'\n');
        }
        out::bytes(&text);
    }
}
