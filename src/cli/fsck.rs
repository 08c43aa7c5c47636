//! `croft fsck`: whether croft's own records are sound.

use serde::Serialize;

use super::{
    args::{Common, FsckArgs},
    exit::{CliError, INFRA},
    farm, out, words,
};

#[derive(Serialize)]
struct Document {
    v: u32,
    findings: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    rule: &'static str,
    row: String,
}

/// Takes over what dead processes left, then checks every invariant.
pub(super) async fn run(common: &Common, args: FsckArgs) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let db = farm::database(&config).await?;
    let recovered = db.recover().await?;
    let findings = db.check().await?;
    let code = if findings.is_empty() { 0 } else { INFRA };
    if args.form.json {
        let findings = findings.into_iter().map(|found| Line { rule: found.rule, row: found.row }).collect();
        out::json(&Document { v: 1, findings });
        return Ok(code);
    }
    if recovered.owners > 0 {
        let runs = words::plural(recovered.runs, "run");
        let attempts = words::plural(recovered.attempts, "attempt");
        out::say(&format!("took over from a process that died: {runs}, {attempts}"));
    }
    for finding in &findings {
        out::data(&format!("broken: {finding}"));
    }
    out::say(if findings.is_empty() {
        "the database is sound"
    } else {
        "the database is not sound; please report this"
    });
    Ok(code)
}
