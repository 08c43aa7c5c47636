//! Report documents that arrive in parts: put together, unpacked, read. Pure layer.

use std::{collections::BTreeMap, io::Read};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::{Limits, TestReport, junit::parse_junit, sink::Problems, tap::parse_tap, text};

/// In which language a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Junit,
    Tap,
}

/// How a document is packed into text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Encoding {
    #[serde(rename = "gzip+base64")]
    GzipBase64,
    #[serde(rename = "identity")]
    Identity,
}

/// One part of a document. Parts are counted from 1.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) format: Format,
    pub(super) encoding: Encoding,
    pub(super) number: u32,
    pub(super) of: u32,
    pub(super) data: &'a str,
}

#[derive(Debug)]
struct Document {
    label: String,
    format: Format,
    encoding: Encoding,
    of: u32,
    parts: BTreeMap<u32, String>,
}

/// All documents of one log.
#[derive(Debug)]
pub(super) struct Documents {
    limits: Limits,
    begun: Vec<Document>,
    bytes: usize,
}

impl Documents {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), begun: Vec::new(), bytes: 0 }
    }

    /// Keeps a part; the sentence says why one is not kept.
    pub(super) fn add(&mut self, part: &Part<'_>) -> Result<(), String> {
        let label = label(part.name);
        if part.of == 0 || part.of > self.limits.parts || part.number == 0 || part.number > part.of {
            let (i, n, max) = (part.number, part.of, self.limits.parts);
            return Err(format!("{label}: part {i} of {n} is no part: they count from 1 to at most {max}"));
        }
        if self.bytes + part.data.len() > self.limits.encoded_bytes {
            return Err(format!("{label} is cut: reports may hold {} bytes", self.limits.encoded_bytes));
        }
        let document = self.document(&label, part)?;
        if (document.format, document.encoding, document.of) != (part.format, part.encoding, part.of) {
            return Err(format!("{label}: part {} does not fit the parts before it", part.number));
        }
        if document.parts.contains_key(&part.number) {
            return Err(format!("{label}: part {} came twice; the first is used", part.number));
        }
        document.parts.insert(part.number, part.data.to_owned());
        self.bytes += part.data.len();
        Ok(())
    }

    fn document(&mut self, label: &str, part: &Part<'_>) -> Result<&mut Document, String> {
        let at = self.begun.iter().position(|document| document.label == label);
        let at = match at {
            Some(at) => at,
            None if self.begun.len() >= self.limits.documents => {
                return Err(format!("{label} is left out: a log may hold {} reports", self.limits.documents));
            }
            None => {
                self.begun.push(Document {
                    label: label.to_owned(),
                    format: part.format,
                    encoding: part.encoding,
                    of: part.of,
                    parts: BTreeMap::new(),
                });
                self.begun.len() - 1
            }
        };
        Ok(&mut self.begun[at])
    }

    /// The documents that are complete and can be read, in the order in which they began, and how many are not.
    pub(super) fn finish(self, problems: &mut Problems) -> (Vec<TestReport>, usize) {
        let mut reports = Vec::new();
        let mut lost = 0;
        let mut room = self.limits.document_bytes;
        for document in self.begun {
            let label = document.label.clone();
            match document.read(&self.limits, &mut room) {
                Ok(report) => reports.push(report),
                Err(reason) => {
                    lost += 1;
                    problems.say(|| format!("{label} is left out: {reason}"));
                }
            }
        }
        (reports, lost)
    }
}

impl Document {
    fn read(self, limits: &Limits, room: &mut usize) -> Result<TestReport, String> {
        let missing = u64::from(self.of) - self.parts.len() as u64;
        if missing > 0 {
            return Err(format!("{missing} of its {} parts are missing", self.of));
        }
        let mut joined = String::with_capacity(self.parts.values().map(String::len).sum());
        joined.extend(self.parts.into_values());
        let bytes = match self.encoding {
            Encoding::Identity => joined.into_bytes(),
            Encoding::GzipBase64 => gunzip(&unbase64(joined)?, *room)?,
        };
        if bytes.len() > *room {
            return Err(too_long(*room));
        }
        *room -= bytes.len();
        let read = match self.format {
            Format::Junit => parse_junit(&bytes, limits),
            Format::Tap => parse_tap(&bytes, limits),
        };
        read.map_err(|error| error.to_string())
    }
}

fn label(name: Option<&str>) -> String {
    match name {
        None => "the report".to_owned(),
        Some(name) => format!("report {:?}", text::name(name, 100)),
    }
}

fn unbase64(mut text: String) -> Result<Vec<u8>, String> {
    // Padding within the text is legal only between parts that were encoded one by one: decode those apart.
    text.retain(|c| !c.is_ascii_whitespace());
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for run in text.split('=').filter(|run| !run.is_empty()) {
        STANDARD_NO_PAD
            .decode_vec(run, &mut bytes)
            .map_err(|error| format!("its base64 is broken ({error})"))?;
    }
    Ok(bytes)
}

/// Stops at `room`, whatever the stream claims.
fn gunzip(packed: &[u8], room: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut unpacked = MultiGzDecoder::new(packed).take(room as u64 + 1);
    unpacked.read_to_end(&mut bytes).map_err(|error| format!("its gzip stream is broken ({error})"))?;
    if bytes.len() > room { Err(too_long(room)) } else { Ok(bytes) }
}

fn too_long(room: usize) -> String {
    format!("it is longer than the {room} bytes that are left for reports")
}
