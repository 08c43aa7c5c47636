//! The fuzz targets for a moment: seeded mutations of valid inputs, a fixed number each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

use croft::nix::fuzzing::TARGETS;
use croft::nix::wire::Encoder;

const ROUNDS: u64 = 4000;

/// A small generator of numbers; the same ones each time.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % below.max(1)
    }

    fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            match self.next(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.next(8),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, b"\0\xff\"(\\]5"[self.next(7)]),
                3 if !bytes.is_empty() => _ = bytes.remove(at),
                4 => {
                    let part = bytes[at..(at + self.next(40)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
                // A length or a count that is far off.
                _ if bytes.len() >= 8 => {
                    let at = self.next(bytes.len() / 8) * 8;
                    let value = [u64::MAX, 1 << 32, 1 << 19, 0, 1, 0x6378_7470][self.next(6)];
                    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                }
                _ => {}
            }
        }
        bytes
    }
}

const PATH: &str = "/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-x";

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let text = |text: &str| vec![text.as_bytes().to_vec()];
    let mut info = Encoder::new();
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    info.text(PATH)
        .text("")
        .text(hash)
        .u64(1)
        .text(PATH)
        .u64(5)
        .u64(120)
        .bool(true)
        .u64(1)
        .text("k:AAAA")
        .text("");
    let mut nar = Encoder::new();
    let tokens = "nix-archive-1|(|type|directory|entry|(|name|a|node|(|type|regular|executable||contents|hello|)|)\
        |entry|(|name|b|node|(|type|symlink|target|a|)|)|)";
    tokens.split('|').for_each(|token| _ = nar.text(token));
    let mut result = Encoder::new();
    let json = r#"{"outPath":"g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-x"}"#;
    result.u64(0).text("").u64(1).bool(false).u64(3).u64(4).u64(1).u64(9).u64(0);
    result.u64(1).text("sha256:00!out").text(json);
    let mut message = Encoder::new();
    message
        .u64(0x5354_5254)
        .u64(1)
        .u64(3)
        .u64(105)
        .text("building")
        .u64(2)
        .u64(1)
        .text(PATH)
        .u64(0)
        .u64(7)
        .u64(0);
    let mut error = Encoder::new();
    error.u64(0x6378_7470).text("Error").u64(0).text("").text("oh").u64(0).u64(1).u64(0).text("trace");
    let mut conversation = Encoder::new();
    conversation.u64(0x6478_696f).u64(0x126).u64(0).text("2.34").u64(1).u64(0x616c_7473);
    conversation.u64(0x616c_7473).bool(true);
    let conversation =
        [conversation.as_bytes(), &info.as_bytes()[56..], &0x616c_7473_u64.to_le_bytes(), nar.as_bytes()];
    match target {
        "derivation" => vec![
            br#"Derive([("out","/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo","","")],[("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-i.drv",["out"])],[],"x86_64-linux","/bin/sh",["-c","a\n\"b\""],[("__json","{\"requiredSystemFeatures\":[\"kvm\"]}"),("out","x")])"#.to_vec(),
            br#"DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],[("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-i.drv",(["out"],[("out",["x"])]))],[],"s","b",[],[("requiredSystemFeatures","kvm big")])"#.to_vec(),
        ],
        "narinfo" => text(&format!(
            "StorePath: {PATH}\nURL: nar/x.nar\nCompression: none\nNarHash: sha256:{hash}\nNarSize: 120\nReferences: \nSig: k:AAAA\nX: y\n"
        )),
        "nar" => vec![nar.as_bytes().to_vec()],
        "message" => vec![message.as_bytes().to_vec(), error.as_bytes().to_vec()],
        "path_info" => vec![info.as_bytes().to_vec()],
        "build_result" => vec![result.as_bytes().to_vec()],
        "conversation" => vec![conversation.concat()],
        "words" => [PATH, &format!("{PATH}.drv!out,dev"), &format!("{PATH}.drv!*"), hash, "k:AAAA", &"0".repeat(52)]
            .map(|word| word.as_bytes().to_vec())
            .to_vec(),
        other => panic!("no seeds for {other}"),
    }
}

#[test]
fn no_target_panics() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        for seed in &seeds {
            target(seed);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for round in 0..ROUNDS {
            let seed = random.next(seeds.len());
            let mut bytes = random.mutate(&seeds[seed]);
            if round % 4 == 0 {
                bytes = random.mutate(&bytes);
            }
            target(&bytes);
        }
    }
}
