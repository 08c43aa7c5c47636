//! A full disk under the state directory: croft says so and stops, and nothing on record is lost.

use std::{fs, process::Command};

use crate::support::Farm;

/// A small file system at the state directory, until it goes.
struct SmallDisk<'a>(&'a Farm);

impl<'a> SmallDisk<'a> {
    fn mount(farm: &'a Farm, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(farm.state())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(farm)),
            Ok(output) => {
                eprintln!("skipped: cannot mount: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("skipped: cannot mount: {error}");
                None
            }
        }
    }

    /// Writes until nothing fits any more.
    fn fill(&self) {
        let path = self.0.state().join("ballast");
        let mut file = fs::File::create(path).unwrap();
        let block = [7; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.state().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.state()).status().unwrap();
    }
}

/// The database and the logs say it in words of their own.
fn says_full(stderr: &str) -> bool {
    stderr.contains("no space left for") || stderr.contains("the disk is full")
}

const BEFORE: &str = r#"old = cell "old" "test_case passed one; report; succeed";"#;
const NOISE: &str = "yes \"$(head -c 700 /dev/urandom | sha512sum)\" | head -n 200";

#[test]
fn a_full_state_disk_stops_croft_and_loses_nothing() {
    let Some(farm) = Farm::new() else { return };
    let Some(disk) = SmallDisk::mount(&farm, "8m") else { return };
    farm.write_flake(BEFORE);
    assert_eq!(farm.check(&[]).code, Some(0));
    let cells: Vec<String> =
        (0..8).map(|i| format!("new-{i} = cell \"new-{i}\" ''{NOISE}; succeed'';")).collect();
    farm.write_flake(&format!("{BEFORE}\n{}", cells.join("\n")));
    disk.fill();
    let full = farm.check(&[]);
    assert_eq!(full.code, Some(3), "{full:#?}");
    let state = farm.state().display().to_string();
    assert!(full.stderr.contains(&state), "the file is named: {}", full.stderr);
    assert!(says_full(&full.stderr), "the cause is named: {}", full.stderr);
    assert!(!full.stderr.contains("panicked"), "{}", full.stderr);
    farm.wait_until_still();
    disk.empty();
    farm.assert_sound();
    assert_eq!(farm.outcomes("old"), ["passed"], "what was on record still is");
    let after = farm.check(&[]);
    assert_eq!(after.code, Some(0), "{after:#?}");
    assert_eq!(after.cells().count(), 9);
    assert_eq!(after.state("old"), "reused");
    farm.assert_sound();
}

#[test]
fn a_disk_that_fills_up_during_a_run_stops_croft_and_loses_nothing() {
    let Some(farm) = Farm::new() else { return };
    let Some(disk) = SmallDisk::mount(&farm, "8m") else { return };
    farm.write_flake(
        r#"early = cell "early" "succeed";
           late = cellWith "late" { need = cell "early" "succeed"; } ''
             wait_for full
             head -c 300000 /dev/urandom | base64
             succeed
           '';"#,
    );
    let flake = farm.flake();
    let croft = farm.croft(&["check", &flake]).start();
    farm.wait_for_runs("late", 1);
    disk.fill();
    farm.open_gate("full");
    let full = croft.wait();
    assert_eq!(full.code, Some(3), "{}", full.stderr);
    assert!(full.stderr.contains(&farm.state().display().to_string()), "the file is named: {}", full.stderr);
    assert!(says_full(&full.stderr), "the cause is named: {}", full.stderr);
    disk.empty();
    let after = farm.check(&[]);
    assert_eq!(after.code, Some(0), "{after:#?}");
    assert_eq!(farm.ran("early"), 1, "what was built is not built again");
    farm.assert_sound();
    farm.wait_until_still();
}
