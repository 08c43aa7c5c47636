//! How fast it is. Ignored; `cargo test --release --test nix_speed -- --ignored --nocapture` prints the numbers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

mod nix_support;

use std::time::{Duration, Instant};

use croft::nix::daemon::{NarToAdd, PathInfo, SignatureCheck};
use croft::nix::{Derivation, DrvPath, KeyTable, NarHash, StoreDir, StorePath, nar};
use nix_support::LiveNix;

const DRVS: u32 = 100_000;

/// A derivation of about 2.3 kB with up to ten inputs before it.
fn synthetic(number: u32) -> (DrvPath, Vec<u8>) {
    let path = |number: u32, end: &str| {
        let mut digest = [0; 20];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        let path = StorePath::from_parts(digest, &format!("package-{number}{end}")).unwrap();
        StoreDir::default().render_path(&path)
    };
    let input = |back: u32| number.checked_sub(back * back + 1);
    let mut inputs: Vec<_> = (0..10).filter_map(input).map(|number| path(number, ".drv")).collect();
    inputs.sort();
    let inputs = inputs.iter().map(|input| format!("(\"{input}\",[\"out\"])")).collect::<Vec<_>>().join(",");
    let script = "make -C \\\"$src\\\" install\\n".repeat(40);
    let out = path(number, "");
    let text = format!(
        "Derive([(\"out\",\"{out}\",\"\",\"\")],[{inputs}],[],\"x86_64-linux\",\"/bin/sh\",[\"-e\",\"-c\"],\
         [(\"buildPhase\",\"{script}\"),(\"name\",\"package\"),(\"out\",\"{out}\"),(\"system\",\"x86_64-linux\")])"
    );
    (path(number, ".drv").parse().unwrap(), text.into_bytes())
}

#[test]
#[ignore = "a measurement"]
fn parse_and_key() {
    let files: Vec<_> = (0..DRVS).map(synthetic).collect();
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    let start = cpu_time();
    let store_dir = StoreDir::default();
    let drvs: Vec<_> =
        files.iter().map(|(path, text)| Derivation::parse(&store_dir, path, text).unwrap()).collect();
    let parsed = cpu_time();
    let mut table = KeyTable::new();
    for drv in &drvs {
        table.key(drv).unwrap();
    }
    let (parsing, keying) = (parsed.saturating_sub(start), cpu_time().saturating_sub(parsed));
    let size = bytes / files.len();
    eprintln!(
        "{DRVS} derivations of {size} bytes: parsed in {parsing:.2?}, keyed in {keying:.2?} of CPU time"
    );
}

/// What this thread has used, whatever else the machine does.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn queries_and_nars() {
    const SIZE: u64 = 256 << 20;
    let mut encoder = nar::Encoder::new(Vec::new()).unwrap();
    let content = vec![b'x'; usize::try_from(SIZE).unwrap()];
    encoder.regular(None, false, &content).unwrap();
    let bytes = encoder.finish().unwrap();
    let info = PathInfo::new(
        StorePath::from_parts([2; 20], "big").unwrap(),
        NarHash::of(&bytes),
        bytes.len() as u64,
    );
    for nix in LiveNix::all() {
        let (mut client, _child) = nix.connect().await;
        let megabytes = |start: Instant| 256.0 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        client.add_nar(NarToAdd { info: info.clone(), nar: &bytes[..] }, SignatureCheck::Skip).await.unwrap();
        let up = megabytes(start);
        let start = Instant::now();
        client.nar_from_path(&info.path, &mut tokio::io::sink()).await.unwrap();
        let down = megabytes(start);
        let start = Instant::now();
        let paths = vec![info.path.clone(); 20_000];
        assert!(client.query_path_infos(&paths).await.unwrap().iter().all(Option::is_some));
        let piped = 20_000.0 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        for path in &paths[..3000] {
            client.query_path_info(path).await.unwrap();
        }
        let single = 3000.0 / start.elapsed().as_secs_f64();
        eprintln!(
            "{}: up {up:.0} MB/s, down {down:.0} MB/s, path infos {piped:.0}/s pipelined, {single:.0}/s one by one",
            client.daemon_version()
        );
    }
}
