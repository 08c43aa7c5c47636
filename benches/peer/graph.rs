//! Reading and keying a large graph of derivations, in a process of its own so that the memory is its own.

use std::{
    env,
    fmt::Write as _,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use croft::{
    graph::{DrvGraph, Loader, Missing},
    nix::{DrvPath, StoreDir},
};
use serde::{Deserialize, Serialize};

use super::{Outcome, measure::Samples, report, report::Figure};

/// The argument that makes this program the child.
pub(crate) const CHILD: &str = "graph-child";

/// The graph: layers of equal width, where each derivation needs some of the layer below.
const LAYERS: usize = 250;
const WIDTH: usize = 400;
/// Where in the layer below the inputs are, seen from a derivation's own place.
const INPUTS: [usize; 8] = [0, 1, 2, 5, 17, 60, 150, 333];
/// Every tenth derivation is a download, and needs little.
const DOWNLOAD: usize = 10;
/// Seconds: the goal, and the aim.
const GOAL: (f64, f64) = (3.0, 3.0);

/// What the child tells.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    seconds: f64,
    peak_mib: f64,
    drvs: usize,
}

/// Runs the child a few times.
pub(crate) fn measured_in_a_child(rounds: usize) -> Outcome {
    let (mut times, mut peak) = (Samples::default(), 0.0_f64);
    for _ in 0..rounds {
        let output = Command::new(env::current_exe()?).arg(CHILD).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let told: Told = serde_json::from_slice(&output.stdout)?;
        times.add(Duration::from_secs_f64(told.seconds));
        peak = peak.max(told.peak_mib);
    }
    Ok(Figure::alone(&times, peak, GOAL))
}

/// The child's whole life.
pub(crate) fn child() -> ExitCode {
    match load().and_then(|told| Ok(serde_json::to_string(&told)?)) {
        Ok(line) => {
            report::answer(&line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn load() -> Result<Told, Box<dyn std::error::Error>> {
    let store = StoreDir::default();
    let (mut graph, mut loader) = (DrvGraph::default(), Loader::default());
    let mut making = Duration::ZERO;
    let begun = Instant::now();
    for place in 0..WIDTH {
        let root = DrvPath::parse(&store, &drv_path(LAYERS - 1, place))?;
        graph.load(&mut loader, &store, &root, |drv| {
            let begun = Instant::now();
            let bytes = spot(drv).map(|(layer, place)| drv_bytes(layer, place));
            making += begun.elapsed();
            bytes.ok_or_else(|| Missing { drv: drv.clone(), cause: "not of this graph".to_owned() })
        })?;
    }
    // What stands in for reading files is not croft's.
    let seconds = begun.elapsed().saturating_sub(making).as_secs_f64();
    if graph.len() != LAYERS * WIDTH {
        return Err(format!("the graph has {} derivations", graph.len()).into());
    }
    Ok(Told { seconds, peak_mib: peak_mib()?, drvs: graph.len() })
}

fn peak_mib() -> Result<f64, Box<dyn std::error::Error>> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The place of a derivation, which its name tells.
fn spot(drv: &DrvPath) -> Option<(usize, usize)> {
    let (layer, place) = drv.name().strip_prefix("package-")?.split_once('-')?;
    Some((layer.parse().ok()?, place.parse().ok()?))
}

/// A made-up hash, as long as a real one and in its alphabet.
fn digest(kind: usize, layer: usize, place: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut seed = (kind as u64) << 40 | (layer * WIDTH + place) as u64;
    let step = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(ALPHABET[(seed >> 59) as usize])
    };
    (0..32).map(step).collect()
}

fn drv_path(layer: usize, place: usize) -> String {
    format!("/nix/store/{}-package-{layer}-{place}.drv", digest(0, layer, place))
}

fn out_path(kind: usize, layer: usize, place: usize) -> String {
    let suffix = if kind == 2 { "-dev" } else { "" };
    format!("/nix/store/{}-package-{layer}-{place}{suffix}", digest(kind, layer, place))
}

fn is_download(layer: usize, place: usize) -> bool {
    (layer + place).is_multiple_of(DOWNLOAD)
}

/// The inputs, in the order of their paths as Nix writes them.
fn inputs(layer: usize, place: usize) -> Vec<String> {
    let count = match (layer, is_download(layer, place)) {
        (0, _) => 0,
        (_, true) => 2,
        (_, false) => INPUTS.len(),
    };
    let mut paths: Vec<String> =
        INPUTS[..count].iter().map(|step| drv_path(layer - 1, (place + step) % WIDTH)).collect();
    paths.sort();
    paths
}

/// The bytes of one `.drv`: two kilobytes of what a package of a package set looks like.
fn drv_bytes(layer: usize, place: usize) -> Vec<u8> {
    let (out, dev) = (out_path(1, layer, place), out_path(2, layer, place));
    let download = is_download(layer, place);
    let outputs = if download {
        let hash = format!("{:064x}", layer * WIDTH + place);
        format!(r#"("out","{out}","sha256","{hash}")"#)
    } else {
        format!(r#"("dev","{dev}","",""),("out","{out}","","")"#)
    };
    let inputs = inputs(layer, place);
    let needs: Vec<String> = inputs.iter().map(|path| format!(r#"("{path}",["out"])"#)).collect();
    let source = format!("/nix/store/{}-builder.sh", digest(3, 0, 0));
    let shell = format!("/nix/store/{}-bash-5.2/bin/bash", digest(4, 0, 0));
    let mut text = format!(
        r#"Derive([{outputs}],[{}],["{source}"],"x86_64-linux","{shell}",["-e","{source}"],["#,
        needs.join(",")
    );
    let env = environment(&format!("package-{layer}-{place}"), &inputs, &out, (!download).then_some(&dev));
    for (number, (name, value)) in env.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        write!(text, r#"{comma}("{name}","{value}")"#).ok();
    }
    text.push_str("])");
    text.into_bytes()
}

fn environment(
    name: &str,
    inputs: &[String],
    out: &str,
    dev: Option<&String>,
) -> Vec<(&'static str, String)> {
    let built: Vec<&str> = inputs.iter().map(|path| path.trim_end_matches(".drv")).collect();
    let (first, second) = built.split_at(built.len() / 2);
    let phase = r#"runHook preBuild\nmake -j$NIX_BUILD_CORES \"PREFIX=$out\" all\nrunHook postBuild\n"#;
    let mut env = vec![
        ("__structuredAttrs", String::new()),
        ("buildInputs", first.join(" ")),
        ("buildPhase", phase.repeat(3)),
        ("builder", format!("/nix/store/{}-bash-5.2/bin/bash", digest(4, 0, 0))),
        ("configureFlags", r"--disable-static --with-ssl\t--enable-shared".to_owned()),
    ];
    env.extend(dev.map(|dev| ("dev", dev.clone())));
    env.extend([
        ("doCheck", "1".to_owned()),
        ("name", name.to_owned()),
        ("nativeBuildInputs", second.join(" ")),
        ("out", out.to_owned()),
        ("patches", String::new()),
        ("requiredSystemFeatures", if name.ends_with("-7") { "big-parallel" } else { "" }.to_owned()),
        ("strictDeps", "1".to_owned()),
        ("system", "x86_64-linux".to_owned()),
    ]);
    env
}
