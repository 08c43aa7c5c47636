//! Croft against its peer, Nix itself: both do the same work in turn, on the same machine, in the same minutes.
//!
//! `cargo bench --bench peer` runs all, `cargo bench --bench peer -- known-2000` one. The ratio is what counts;
//! absolute times say something about the machine. `CROFT_BENCH_ROUNDS` sets the rounds (3). The result is printed as
//! a table and written to `target/bench/summary.json`.

#[path = "peer/flake.rs"]
mod flake;
#[path = "peer/graph.rs"]
mod graph;
#[path = "peer/measure.rs"]
mod measure;
#[path = "peer/report.rs"]
mod report;
#[path = "peer/scenarios.rs"]
mod scenarios;
#[path = "peer/schedule.rs"]
mod schedule;
#[path = "peer/ssh.rs"]
mod ssh;
#[path = "peer/vm.rs"]
mod vm;

use std::{env, process::ExitCode};

use report::{Figure, Summary};

/// What a scenario gives, or why it could not run.
type Outcome = Result<Figure, Box<dyn std::error::Error>>;

/// A scenario, given how many rounds to run.
type Scenario = fn(usize) -> Outcome;

const SCENARIOS: [(&str, Scenario); 11] = [
    ("local-500", scenarios::local_500),
    ("known-2000", scenarios::known_2000),
    ("graph-100k-s", graph::measured_in_a_child),
    ("ssh-500-1", ssh::ssh_500_on_1),
    ("ssh-500-2", ssh::ssh_500_on_2),
    ("ssh-500-4", ssh::ssh_500_on_4),
    ("ssh-sleep-40", ssh::ssh_sleep_40),
    ("closure-1g", ssh::closure_1g),
    ("sched-100k-p99-ms", schedule::sched_100k_p99),
    ("makespan-10k", schedule::makespan_10k),
    ("vm-first-build", vm::first_build),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == graph::CHILD) {
        return graph::child();
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let rounds = env::var("CROFT_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3).max(1);
    let mut summary = if wanted.is_empty() { Summary::default() } else { Summary::read() };
    for (name, scenario) in SCENARIOS {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            let figure = scenario(rounds).map_err(|error| format!("{name}: {error}"))?;
            report::row(name, &figure);
            summary.put(name, figure);
            // After each one, so that a run that is cut off leaves what it has measured.
            summary.write()?;
        }
    }
    Ok(())
}
