//! `croft doctor`: what would keep croft from working here.

use std::{borrow::Cow, path::Path, time::Duration};

use futures_util::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    args::{Common, DoctorArgs},
    exit::{CliError, INFRA},
    farm, machines, out,
    out::Dress,
    words,
};
use crate::{
    config::{Config, ProviderKind},
    engine::{Farm, SandboxProbe, StaticBuilder, probe_sandbox},
    nix::{System, SystemFeature},
    report::{Colours, terminal_line},
};

/// Free space below this, in bytes, is worth a warning.
const LOW_BYTES: u64 = 2 << 30;
/// The earliest date that a clock can be right about, as milliseconds since 1970: 2026-01-01.
const EARLIEST: u64 = 1_767_225_600_000;

/// How long a builder may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest text of a builder that is shown, in bytes.
const MAX_WORDS: usize = 400;

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
    what: Cow<'static, str>,
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
            what: "sandbox".into(),
            health: Health::Poor,
            words: format!("builds are not sandboxed: {why}. Set `sandbox = true` and `sandbox-fallback = false` in nix.conf"),
        },
        Err(error) => bad("sandbox", format!("the probe build failed: {error}")),
    });
    others(farm, config, findings).await;
}

/// Other machines: all builders at once, and whether virtual machines can be run here.
async fn others(farm: &Farm, config: &Config, findings: &mut Vec<Finding>) {
    match machines::builders(config, &farm.builder, None) {
        Ok(builders) => findings.extend(join_all(builders.iter().map(reached)).await),
        Err(error) => findings.push(bad("builders", error.to_string())),
    }
    let Ok(id) = farm.db.farm_id().await else { return };
    for pool in config.settings.pool.iter().filter(|pool| pool.provider == ProviderKind::Qemu) {
        let qemu = machines::qemu(pool, id, &config.state_dir);
        let what = format!("pool {}", pool.name);
        findings.push(match qemu.readiness().await {
            Ok(words) => good(what, words),
            Err(error) => bad(what, error.to_string()),
        });
    }
}

/// Whether a builder answers with the key that it should have, and its Nix.
async fn reached(builder: &StaticBuilder) -> Finding {
    let what = format!("builder {}", builder.name);
    let mark = |text: &str| terminal_line(text.as_bytes(), Colours::Drop, MAX_WORDS);
    match tokio::time::timeout(ANSWER, builder.builder.pool().take()).await {
        Ok(Ok(connection)) => {
            let nix = mark(connection.client.daemon_version());
            good(what, format!("it has the known host key and Nix {nix}"))
        }
        Ok(Err(error)) => bad(what, mark(&error.to_string())),
        Err(_) => {
            let seconds = ANSWER.as_secs();
            bad(
                what,
                format!("no answer within {seconds} s; check that the machine is up and not overloaded"),
            )
        }
    }
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
                what: what.into(),
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

fn good(what: impl Into<Cow<'static, str>>, words: String) -> Finding {
    Finding { what: what.into(), health: Health::Good, words }
}

fn bad(what: impl Into<Cow<'static, str>>, words: String) -> Finding {
    Finding { what: what.into(), health: Health::Bad, words }
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
