use std::time::{Duration, Instant};

use super::*;

/// How long each reader is tried.
const BUDGET: Duration = Duration::from_secs(1);

/// A small generator whose numbers depend on its seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }

    /// Changes some bytes, drops or repeats a piece, or joins words of the language at a random place.
    fn mutate(&mut self, bytes: &mut Vec<u8>, words: &[&str]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + self.below(40)).min(bytes.len());
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = bytes[at..end].repeat(self.below(5));
                    bytes.splice(at..at, piece);
                }
                3 => bytes.truncate(end.max(10)),
                _ => drop(bytes.splice(at..at, words[self.below(words.len())].bytes())),
            }
        }
    }
}

fn run(target: fn(&[u8]), seeds: &[&str], words: &[&str]) {
    let started = Instant::now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut rounds = 0_u32;
    while started.elapsed() < BUDGET {
        let mut bytes = seeds[random.below(seeds.len())].as_bytes().to_vec();
        random.mutate(&mut bytes, words);
        target(&bytes);
        rounds += 1;
    }
    assert!(rounds > 50, "only {rounds} rounds");
}

#[test]
fn any_log_is_a_report() {
    let seeds = [
        "hello\n@croft {\"v\":1,\"event\":\"test\",\"suite\":\"s\",\"name\":\"n\",\"status\":\"failed\",\"ms\":1,\"message\":\"m\"}\nbye",
        "@croft {\"v\":1,\"event\":\"report\",\"format\":\"tap\",\"encoding\":\"identity\",\"part\":1,\"of\":2,\"data\":\"1..1\\nok\"}\n\
         @croft {\"v\":1,\"event\":\"report\",\"format\":\"tap\",\"encoding\":\"identity\",\"part\":2,\"of\":2,\"data\":\" 1\\n\"}",
        "@croft {\"v\":1,\"event\":\"report\",\"format\":\"junit\",\"name\":\"x\",\"encoding\":\"gzip+base64\",\"part\":1,\"of\":1,\
         \"data\":\"H4sIAAAAAAAAA7MpSS0uKS7NLEm1s7Ep0QMAd1vFkw8AAAA=\"}",
        "@croft {\"v\":1,\"event\":\"refused\",\"reason\":\"too old\"}",
    ];
    run(
        protocol,
        &seeds,
        &["\n@croft ", "1e999", "-1", "4294967296", "null", "\\ud800", "\"of\":0", "{", "\u{1b}["],
    );
}

#[test]
fn any_bytes_are_junit_or_an_error() {
    let seeds = [
        "<?xml version='1.0'?><testsuites><testsuite name='s'><testcase classname='c' name='n' time='1.5'><failure \
         message='m'>t &lt; <![CDATA[x]]></failure><system-out>o</system-out></testcase></testsuite></testsuites>",
        "<testsuite><testcase name='a'><skipped/></testcase><error message='&#10;'/></testsuite>",
    ];
    run(
        junit,
        &seeds,
        &[
            "<testsuite>",
            "</testcase>",
            "<testcase name='",
            "&#0;",
            "&x;",
            "<!DOCTYPE a",
            "<![CDATA[",
            "\0",
            "time='1e400'",
        ],
    );
}

#[test]
fn any_bytes_are_tap_or_an_error() {
    let seeds = [
        "TAP version 14\n1..2\nok 1 - a # SKIP x\n    ok 1 - b\n    1..1\nnot ok 2 - c\n  ---\n  duration_ms: 3\n  ...\nBail out! y\n",
    ];
    run(
        tap,
        &seeds,
        &["\n    ", "        ok", "1..", "\n---\n", "...", "# TODO", "99999999999999999999", "é", "\\#"],
    );
}
