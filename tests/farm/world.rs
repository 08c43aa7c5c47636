//! A farm with a configuration of its own, and flakes whose cells can be built anywhere.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    hosts::Host,
    support::{Checked, Croft, Done, Farm},
};

/// The longest that a check with other machines is waited for.
pub(crate) const LONG: Duration = Duration::from_secs(240);

/// A farm with other machines.
pub(crate) struct World {
    pub(crate) farm: Farm,
    /// Runs croft where its machines are.
    way: Box<dyn Fn() -> Command>,
}

impl World {
    /// A farm with this `croft.toml`.
    pub(crate) fn new(toml: &str) -> Option<Self> {
        Self::by(toml, || Command::new(Croft::PROGRAM))
    }

    /// The same, where `way` makes the command that runs croft.
    pub(crate) fn by(toml: &str, way: impl Fn() -> Command + 'static) -> Option<Self> {
        let farm = Farm::new()?;
        let world = Self { farm, way: Box::new(way) };
        world.configure(toml);
        Some(world)
    }

    /// Writes another `croft.toml`.
    pub(crate) fn configure(&self, toml: &str) {
        fs::write(self.farm.dir().join("croft.toml"), toml).unwrap();
    }

    /// Writes a flake: each cell has a name, further attributes and a script, which makes `$out`.
    pub(crate) fn cells(&self, cells: &[(&str, &str, &str)]) {
        let system = format!("{}-linux", std::env::consts::ARCH);
        let cell = |(name, attrs, script): &(&str, &str, &str)| {
            format!(
                "{name} = derivation {{ name = \"{name}\"; system = \"{system}\"; builder = \"/bin/sh\"; \
                 args = [ \"-c\" ''{script}'' ]; {attrs} }};\n"
            )
        };
        let checks: String = cells.iter().map(cell).collect();
        let text = format!("{{ outputs = {{ self }}: {{ checks.{system} = {{\n{checks}}}; }}; }}\n");
        fs::write(self.farm.dir().join("flake/flake.nix"), text).unwrap();
    }

    /// A call of croft on this farm.
    pub(crate) fn croft(&self, args: &[&str]) -> Croft<'_> {
        let config = self.farm.dir().join("croft.toml");
        self.farm.croft_by((self.way)(), args).env("CROFT_CONFIG", &config.display().to_string())
    }

    /// `croft check --json`, to its end.
    pub(crate) fn check(&self, args: &[&str]) -> Checked {
        let flake = self.farm.flake();
        let args = [&["check", "--json", &flake], args].concat();
        Checked::of(self.finish(&args))
    }

    /// Runs croft to its end, however long that takes.
    pub(crate) fn finish(&self, args: &[&str]) -> Done {
        self.croft(args).start().wait_for_end(LONG)
    }

    /// `croft fleet --all --json`.
    pub(crate) fn machines(&self) -> Vec<Value> {
        let document = self.croft(&["fleet", "--all", "--json"]).run().json();
        document["machines"].as_array().cloned().unwrap_or_default()
    }

    /// The machine of this name.
    pub(crate) fn machine(&self, name: &str) -> Value {
        let all = self.machines();
        let found = all.iter().find(|machine| machine["name"] == name);
        found.unwrap_or_else(|| panic!("no machine {name} in {all:#?}")).clone()
    }

    /// What happened to machines: `name kind words` for each event.
    pub(crate) fn events(&self) -> Vec<String> {
        let events = self.croft(&["fleet", "events", "--json", "-n", "1000"]).run().json();
        let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let line = |e: &Value| format!("{} {} {}", word(e, "machine"), word(e, "kind"), word(e, "words"));
        events.as_array().into_iter().flatten().map(line).collect()
    }

    /// On which machines the builds of a cell were tried, and what came of it, oldest first.
    pub(crate) fn attempts(&self, cell: &str) -> Vec<(String, String)> {
        let shown = self.croft(&["show", "--json", cell]).run().json();
        let key = shown["cells"][0]["key"].as_str().unwrap_or_default().to_owned();
        let shown = self.croft(&["show", "--json", &key]).run().json();
        let attempt = |attempt: &Value| {
            let outcome = attempt["outcome"]["outcome"].as_str().unwrap_or("running").to_owned();
            (attempt["machine"].as_str().unwrap_or_default().to_owned(), outcome)
        };
        shown["attempts"].as_array().into_iter().flatten().rev().map(attempt).collect()
    }
}

/// `[[builder]]` for a host.
pub(crate) fn builder(name: &str, host: &Host, slots: u32, more: &str) -> String {
    format!(
        "[[builder]]\nname = \"{name}\"\nhost = \"{}\"\nkey = \"{}\"\nhost_key = \"{}\"\nsystems = [\"{}-linux\"]\n\
         slots = {slots}\n{more}\n",
        host.address,
        host.dir.path().join("id").display(),
        host.host_key.public_line().unwrap(),
        std::env::consts::ARCH,
    )
}
