//! `croft plan`: what a check would do, and why.

use tokio_util::sync::CancellationToken;

use super::{
    args::{Common, PlanArgs},
    exit::{CliError, EVALUATION, WORK},
    farm, out,
    out::Dress,
    render::{grid, legend},
    signals::Interrupts,
    words,
};
use crate::{
    engine::{Preview, preview},
    lifecycle::CellState,
};

/// The most cells that are listed one by one.
const MAX_LISTED: usize = 60;

/// Prints the plan, unless the user will not wait for it.
pub(super) async fn run(common: &Common, args: PlanArgs) -> Result<u8, CliError> {
    let interrupts = Interrupts::watch();
    interrupts.guard(run_to_end(common, args, interrupts.stop.clone())).await
}

async fn run_to_end(common: &Common, args: PlanArgs, cancel: CancellationToken) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let farm = farm::open(&config).await?;
    let plan = preview(farm, farm::request(&args.selection)?, cancel).await?;
    if args.form.json {
        out::json(&plan);
    } else {
        print(Dress::stdout(common.color), &plan);
    }
    if plan.summary.count(CellState::EvalError) > 0 {
        return Ok(EVALUATION);
    }
    Ok(if args.exit_code && plan.has_work() { WORK } else { 0 })
}

fn print(dress: Dress, plan: &Preview) {
    out::data(&dress.paint("1", &plan.flake));
    for (system, matrix) in &plan.matrices {
        out::data("");
        if plan.matrices.len() > 1 {
            out::data(&format!("{} on {system}", matrix.name));
        }
        for line in grid(dress, system, matrix, &plan.cells) {
            out::data(line.trim_end());
        }
    }
    out::data(&format!("\n{}\n", legend(dress, &plan.cells)));
    let listed: Vec<_> = plan.cells.iter().filter(|cell| deserves_a_line(cell.state)).collect();
    let width = listed.iter().map(|cell| cell.name.as_str().len()).max().unwrap_or(0).min(48);
    for cell in listed.iter().take(MAX_LISTED) {
        out::data(&words::cell_line(dress, cell, width, words::UNBOUNDED));
    }
    if listed.len() > MAX_LISTED {
        out::data(&format!("… and {} more; --json lists all", listed.len() - MAX_LISTED));
    }
    if !listed.is_empty() {
        out::data("");
    }
    out::data(&format!("{}{}", words::summary(&plan.summary), work(plan)));
}

fn deserves_a_line(state: CellState) -> bool {
    !matches!(state, CellState::Reused)
}

/// What the plan costs: `; 12 derivations to build, about 1 m 05 s`.
fn work(plan: &Preview) -> String {
    if plan.derivations + plan.substitutions == 0 {
        return "; nothing to build".to_owned();
    }
    let mut text = format!("; {} to build", words::plural(plan.derivations as u64, "derivation"));
    if plan.substitutions > 0 {
        text.push_str(&format!(", {} to fetch", plan.substitutions));
    }
    if !plan.estimate.wall.is_zero() {
        text.push_str(&format!(", about {}", words::span(plan.estimate.wall)));
    }
    if let Some(cost) = plan.cost {
        text.push_str(&format!(", cost at least {cost}"));
    }
    if plan.estimate.unknown > 0 {
        text.push_str(&format!(" ({} never built before)", plan.estimate.unknown));
    }
    text
}
