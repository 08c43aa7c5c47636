//! `croft doctor`: what would keep croft from working here.

use std::{path::Path, time::Duration};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    args::{Common, DoctorArgs},
    exit::{CliError, INFRA},
    farm, out,
    out::Dress,
    words,
};
use crate::{
    config::Config,
    engine::{Farm, SandboxProbe, probe_sandbox},
    nix::{System, SystemFeature},
};

/// Free space below this, in bytes, is worth a warning.
const LOW_BYTES: u64 = 2 << 30;
/// The earliest date that a clock can be right about, as milliseconds since 1970: 2026-01-01.
const EARLIEST: u64 = 1_767_225_600_000;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Good,
    Poor,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    health: Health,
    words: String,
}

#[derive(Serialize)]
struct Examination {
    v: u32,
    findings: Vec<Finding>,
}

/// Examines this machine.
pub(super) async fn run(common: &Common, args: DoctorArgs) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let mut findings = vec![configuration(&config), disk("state disk", &config.state_dir), time().await];
    match farm::open(&config).await {
        Ok(farm) => examine(&farm, &config, &mut findings).await,
        Err(error) => findings.push(bad("farm", error.to_string())),
    }
    let worst = findings.iter().any(|finding| finding.health == Health::Bad);
    if args.form.json {
        out::json(&Examination { v: 1, findings });
    } else {
        print(Dress::stdout(common.color), &findings);
    }
    Ok(if worst { INFRA } else { 0 })
}

async fn examine(farm: &Farm, config: &Config, findings: &mut Vec<Finding>) {
    findings.push(disk("store disk", &config.settings.nix.physical("/nix/store")));
    findings.push(database(farm).await);
    findings.push(nix(farm).await);
    findings.push(builder(farm).await);
    findings.push(match probe_sandbox(farm, &CancellationToken::new()).await {
        Ok(SandboxProbe::Tight(span)) => good("sandbox", format!("a probe build was sandboxed ({})", words::span(span))),
        Ok(SandboxProbe::Open(why)) => Finding {
            what: "sandbox",
            health: Health::Poor,
            words: format!("builds are not sandboxed: {why}. Set `sandbox = true` and `sandbox-fallback = false` in nix.conf"),
        },
        Err(error) => bad("sandbox", format!("the probe build failed: {error}")),
    });
}

async fn builder(farm: &Farm) -> Finding {
    match farm.offer().await {
        Ok(offer) => {
            let systems: Vec<&str> = offer.systems.iter().map(System::as_str).collect();
            let features: Vec<&str> = offer.features.iter().map(SystemFeature::as_str).collect();
            let slots = words::plural(farm.builder.slots().into(), "slot");
            good("builder", format!("{}; features {}; {slots}", systems.join(" "), features.join(" ")))
        }
        Err(error) => bad("builder", error.to_string()),
    }
}

async fn nix(farm: &Farm) -> Finding {
    match farm.builder.pool().take().await {
        Ok(connection) => {
            let client = &connection.client;
            good("nix", format!("daemon {}, protocol {}", client.daemon_version(), client.protocol_version()))
        }
        Err(error) => bad("nix", error.to_string()),
    }
}

async fn database(farm: &Farm) -> Finding {
    match farm.db.check().await {
        Ok(findings) if findings.is_empty() => good("database", "sound".to_owned()),
        Ok(findings) => {
            let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
            bad("database", all.join("; "))
        }
        Err(error) => bad("database", error.to_string()),
    }
}

fn configuration(config: &Config) -> Finding {
    let file = config.file.as_ref().map_or("defaults".to_owned(), |file| file.display().to_string());
    good("configuration", format!("{file}; state in {}", config.state_dir.display()))
}

fn disk(what: &'static str, path: &Path) -> Finding {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    match rustix::fs::statvfs(existing) {
        Ok(fs) => {
            let free = fs.f_bavail * fs.f_frsize;
            let health = if free < LOW_BYTES { Health::Poor } else { Health::Good };
            Finding {
                what,
                health,
                words: format!("{:.1} GiB free at {}", free as f64 / (1u64 << 30) as f64, existing.display()),
            }
        }
        Err(error) => bad(what, format!("{}: {error}", existing.display())),
    }
}

async fn time() -> Finding {
    use crate::clock::{Clock, SystemClock, Timestamp};
    let now = SystemClock.now();
    if now < Timestamp::from_millis(EARLIEST) {
        return bad("clock", format!("it is set to {now}, which has passed; set the clock"));
    }
    let before = std::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let drift = SystemClock.now().since(now).abs_diff(before.elapsed());
    if drift > Duration::from_millis(500) {
        return bad("clock", format!("it jumped by {} while it was watched", words::span(drift)));
    }
    good("clock", now.to_string())
}

fn good(what: &'static str, words: String) -> Finding {
    Finding { what, health: Health::Good, words }
}

fn bad(what: &'static str, words: String) -> Finding {
    Finding { what, health: Health::Bad, words }
}

fn print(dress: Dress, findings: &[Finding]) {
    for finding in findings {
        let mark = match finding.health {
            Health::Good => dress.paint("32", "✓"),
            Health::Poor => dress.paint("33", "⚠"),
            Health::Bad => dress.paint("1;31", "✗"),
        };
        out::data(&format!("{mark} {:<14} {}", finding.what, finding.words));
    }
}
