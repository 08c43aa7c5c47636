//! `croft check`: plan, build, record, report.

use std::path::Path;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    args::{CheckArgs, Common},
    exit::{CliError, INTERRUPTED},
    farm, out,
    out::Dress,
    render,
    signals::Interrupts,
};
use crate::{
    engine::{Conduct, Farm, OnFailure, check},
    report::{CellTests, RunReport, write_junit},
    task,
};

/// How many events may wait for a slow terminal.
const EVENTS: usize = 1024;

/// Runs the check, until it is done or the user will not wait.
pub(super) async fn run(common: &Common, args: CheckArgs) -> Result<u8, CliError> {
    let interrupts = Interrupts::watch();
    interrupts.guard(run_to_end(common, args, interrupts.stop.clone())).await
}

async fn run_to_end(common: &Common, args: CheckArgs, cancel: CancellationToken) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let farm = farm::open(&config).await?;
    let dress = Dress::stderr(common.color);
    let (events, shown) = mpsc::channel(EVENTS);
    let show = task::spawn("render", render::show(render::renderer(&args, dress), shown, cancel.clone()));
    let conduct = Conduct {
        on_failure: if args.fail_fast { OnFailure::Stop } else { OnFailure::KeepGoing },
        max_jobs: args.max_jobs,
    };
    let request = farm::request(&args.selection)?;
    let done = check(farm.clone(), request, conduct, events, cancel.clone()).await;
    // The renderer ends when the last event is shown; the screen is in order before anything else is printed.
    if let Err(error) = show.join().await {
        out::say(&format!("croft: {error}"));
    }
    let report = done?;
    if let Some(file) = &args.junit {
        write_tests(&farm, &report, file).await?;
    }
    if args.form.json {
        out::json(&report);
    }
    if !args.jsonl {
        render::epilogue(dress, &report, args.quiet);
    }
    Ok(if cancel.is_cancelled() { INTERRUPTED } else { report.verdict.exit_code() })
}

async fn write_tests(farm: &Farm, report: &RunReport, file: &Path) -> Result<(), CliError> {
    let mut tests = Vec::new();
    for cell in &report.cells {
        if let Some(attempt) = cell.attempt {
            tests.push((cell.name.as_str(), farm.db.test_list(attempt).await?));
        }
    }
    let cells: Vec<CellTests> = tests.iter().map(|(cell, cases)| CellTests { cell, cases }).collect();
    let failed = |error: std::io::Error| CliError::Other(format!("writing {}: {error}", file.display()));
    let mut out = Vec::new();
    write_junit(&mut out, &cells).map_err(failed)?;
    fs_err::write(file, out).map_err(failed)
}
