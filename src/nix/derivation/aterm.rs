//! Writing derivations as `ATerm`: in full, or in the forms that Nix hashes.
//!
//! Layer 0, pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

use nix_derivation::{ContentAddressMethod, Derivation, HashAlgorithm, InputDerivation, Output, StorePath};

use crate::nix::hash::to_base16;

/// The inputs of a derivation as Nix hashes them: output names by the input's own hash.
pub(in crate::nix) type ModuloInputs<'a> = BTreeMap<[u8; 32], BTreeSet<&'a str>>;

/// Which text to write.
pub(in crate::nix) enum Form<'a> {
    /// The `.drv` file itself.
    Full,
    /// Input derivations replaced by their hashes.
    Modulo(&'a ModuloInputs<'a>),
}

/// A derivation as a text, and where in it the derivation's own output paths are.
pub(in crate::nix) struct Written {
    text: Vec<u8>,
    own: Vec<Range<usize>>,
}

impl Written {
    /// The whole text.
    pub(in crate::nix) fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The whole text.
    pub(in crate::nix) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The text with the derivation's own output paths blanked, piece by piece.
    pub(in crate::nix) fn masked(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.own.iter().map(|own| own.end));
        let ends = self.own.iter().map(|own| own.start).chain(std::iter::once(self.text.len()));
        starts.zip(ends).map(|(start, end)| &self.text[start..end])
    }
}

/// Writes a derivation in the given form.
pub(in crate::nix) fn write(drv: &Derivation, form: &Form<'_>) -> Written {
    let mut w = Writer { out: Vec::with_capacity(4096), own: Vec::new(), drv };
    let dynamic = drv.input_derivations().values().any(InputDerivation::is_dynamic);
    match form {
        Form::Full if dynamic => w.raw("DrvWithVersion(\"xp-dyn-drv\","),
        Form::Full | Form::Modulo(_) => w.raw("Derive("),
    }
    w.list(drv.outputs(), |w, (name, output)| w.output(name, output));
    w.raw(",");
    match form {
        Form::Full => w.list(drv.input_derivations(), |w, (path, input)| w.full_input(path, input)),
        Form::Modulo(inputs) => w.list(inputs.iter(), |w, (hash, outputs)| {
            w.raw("(");
            w.plain(&to_base16(hash));
            w.raw(",");
            w.list(outputs, |w, output| w.plain(output));
            w.raw(")");
        }),
    }
    w.raw(",");
    w.list(drv.input_sources(), Writer::path);
    w.raw(",");
    w.plain(drv.system());
    w.raw(",");
    w.escaped(drv.builder().as_bytes());
    w.raw(",");
    w.list(drv.arguments(), |w, argument| w.escaped(argument.as_bytes()));
    w.raw(",");
    w.list(environment(drv), |w, (key, value)| {
        w.raw("(");
        w.escaped(key.as_bytes());
        w.raw(",");
        let own = drv.outputs().contains_key(key);
        w.quoted(own, |w| w.escape(value));
        w.raw(")");
    });
    w.raw(")");
    Written { text: w.out, own: w.own }
}

/// The environment in order, with the structured attributes in their place and unchanged.
pub(in crate::nix) fn environment(drv: &Derivation) -> impl Iterator<Item = (&str, &[u8])> {
    const JSON: &str = "__json";
    let before = drv.environment().range::<str, _>((Bound::Unbounded, Bound::Excluded(JSON))).map(pair);
    let after = drv.environment().range::<str, _>((Bound::Excluded(JSON), Bound::Unbounded)).map(pair);
    let json = drv.structured_attrs().map(|attrs| (JSON, attrs.raw_json()));
    before.chain(json).chain(after)
}

fn pair<'a>((key, value): (&'a String, &'a Vec<u8>)) -> (&'a str, &'a [u8]) {
    (key, value)
}

/// The method as Nix writes it before the algorithm's name.
pub(in crate::nix) fn method_prefix(method: ContentAddressMethod) -> &'static str {
    match method {
        ContentAddressMethod::Flat => "",
        ContentAddressMethod::Nar => "r:",
        ContentAddressMethod::Text => "text:",
        ContentAddressMethod::Git => "git:",
    }
}

/// The path, method and hash fields of an output as texts; an unknown path is empty.
pub(in crate::nix) fn output_fields(drv: &Derivation, name: &str, output: &Output) -> [String; 3] {
    let path = output.path_in(drv.store_dir(), drv.name(), name).ok().flatten();
    let path = path.map(|path| drv.store_dir().render_path(&path)).unwrap_or_default();
    let method_algorithm = |method: ContentAddressMethod, algorithm: HashAlgorithm| {
        format!("{}{algorithm}", method_prefix(method))
    };
    match output {
        Output::InputAddressed { .. } | Output::Deferred => [path, String::new(), String::new()],
        Output::Fixed { ca } => {
            let hash = ca.hash();
            let digest = to_base16(hash.digest_as_bytes());
            [path, method_algorithm(ca.method(), hash.algorithm()), digest]
        }
        Output::Floating { method, hash_algorithm } => {
            [path, method_algorithm(*method, *hash_algorithm), String::new()]
        }
        Output::Impure { method, hash_algorithm } => {
            [path, method_algorithm(*method, *hash_algorithm), "impure".to_owned()]
        }
    }
}

struct Writer<'d> {
    out: Vec<u8>,
    own: Vec<Range<usize>>,
    drv: &'d Derivation,
}

impl Writer<'_> {
    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A string that needs no escapes.
    fn plain(&mut self, text: &str) {
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
    }

    fn escaped(&mut self, bytes: &[u8]) {
        self.quoted(false, |w| w.escape(bytes));
    }

    /// Quotes around what `write` writes, which is remembered if it is an output path of the derivation's own.
    fn quoted(&mut self, own: bool, write: impl FnOnce(&mut Self)) {
        self.raw("\"");
        let start = self.out.len();
        write(self);
        if own {
            self.own.push(start..self.out.len());
        }
        self.raw("\"");
    }

    fn escape(&mut self, bytes: &[u8]) {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                _ => continue,
            };
            self.out.extend_from_slice(&bytes[start..at]);
            self.raw(escape);
            start = at + 1;
        }
        self.out.extend_from_slice(&bytes[start..]);
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.raw("[");
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw("]");
    }

    fn path(&mut self, path: &StorePath) {
        self.plain(&self.drv.store_dir().render_path(path));
    }

    fn output(&mut self, name: &str, output: &Output) {
        let [path, method, hash] = output_fields(self.drv, name, output);
        self.raw("(");
        self.plain(name);
        self.raw(",");
        self.quoted(true, |w| w.raw(&path));
        for field in [method, hash] {
            self.raw(",");
            self.plain(&field);
        }
        self.raw(")");
    }

    fn full_input(&mut self, path: &StorePath, input: &InputDerivation) {
        self.raw("(");
        self.path(path);
        self.raw(",");
        self.input(input);
        self.raw(")");
    }

    fn input(&mut self, input: &InputDerivation) {
        if !input.is_dynamic() {
            return self.list(input.outputs(), |w, output| w.plain(output));
        }
        self.raw("(");
        self.list(input.outputs(), |w, output| w.plain(output));
        self.raw(",");
        self.list(input.dynamic_outputs(), |w, (name, child)| {
            w.raw("(");
            w.plain(name);
            w.raw(",");
            w.input(child);
            w.raw(")");
        });
        self.raw(")");
    }
}
