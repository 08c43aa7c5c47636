//! The daemon's side of a conversation as bytes.

use croft::nix::daemon::Trust;
use croft::nix::wire::Encoder;
use croft::nix::{StoreDir, StorePath, hash};

pub(crate) const NEXT: u64 = 0x6f6c_6d67;
pub(crate) const LAST: u64 = 0x616c_7473;
const ERROR: u64 = 0x6378_7470;

/// Bytes that a daemon would send.
pub(crate) struct Script {
    out: Encoder,
    raw: Vec<u8>,
}

/// A greeting without its final acknowledgement.
pub(crate) fn greeting(minor: u64, trust: Trust, features: &[&str]) -> Script {
    let mut script = Script::new();
    script.u64(0x6478_696f).u64(1 << 8 | minor);
    if minor >= 38 {
        script.u64(features.len() as u64);
        for feature in features {
            script.text(feature);
        }
    }
    script.text("9.9");
    if minor >= 35 {
        script.u64(match trust {
            Trust::Unknown => 0,
            Trust::Trusted => 1,
            Trust::NotTrusted => 2,
        });
    }
    script
}

/// A whole greeting.
pub(crate) fn hello(minor: u64, trust: Trust, features: &[&str]) -> Script {
    let mut script = greeting(minor, trust, features);
    script.u64(LAST);
    script
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { out: Encoder::new(), raw: Vec::new() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    fn encode(&mut self, encode: impl FnOnce(&mut Encoder)) -> &mut Self {
        self.out = Encoder::new();
        encode(&mut self.out);
        self.raw.extend_from_slice(self.out.as_bytes());
        self
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.raw.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.encode(|out| _ = out.u64(value))
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.u64(u64::from(value))
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.encode(|out| _ = out.text(value))
    }

    pub(crate) fn log_line(&mut self, line: &[u8]) -> &mut Self {
        self.encode(|out| _ = out.u64(NEXT).bytes(line))
    }

    pub(crate) fn error(&mut self, message: &str) -> &mut Self {
        self.encode(|out| _ = out.u64(ERROR).text("Error").u64(0).text("Error").text(message).u64(0).u64(0))
    }

    pub(crate) fn path_info_fields(
        &mut self,
        reference: &StorePath,
        nar_hash: &[u8; 32],
        size: u64,
    ) -> &mut Self {
        let reference = StoreDir::default().render_path(reference);
        let hash = hash::to_base16(nar_hash);
        self.encode(|out| {
            out.text("").text(&hash).u64(1).text(&reference).u64(7).u64(size).bool(true).u64(0).text("");
        })
    }

    pub(crate) fn build_result(
        &mut self,
        minor: u64,
        status: u64,
        message: &str,
        outputs: &[(&str, StorePath)],
    ) -> &mut Self {
        self.encode(|out| {
            out.u64(status).text(message).u64(1).bool(false).u64(0).u64(0);
            if minor >= 37 {
                out.u64(0).u64(1).u64(1500);
            }
            out.u64(outputs.len() as u64);
            for (id, path) in outputs {
                let json = format!("{{\"id\":\"{id}\",\"outPath\":\"{}\",\"more\":[]}}", path.to_basename());
                out.text(id).text(&json);
            }
        })
    }
}
