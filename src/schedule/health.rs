//! Whether a builder is fit to build.

use std::{fmt, time::Duration};

use crate::config::FleetSettings;

/// One file system of a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free space in MiB.
    pub free: u64,
    /// Free inodes in percent; none where the file system does not count them.
    pub free_inodes: Option<u8>,
}

/// What a builder tells of itself. What it does not tell is not judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthReport {
    /// The file system of its store.
    pub store: Option<Space>,
    /// The one where builds run.
    pub build_dir: Option<Space>,
    /// The one of `/tmp`.
    pub tmp: Option<Space>,
    /// How far its clock is off, either way.
    pub clock_skew: Option<Duration>,
    /// The version of its Nix, such as `2.18.1`.
    pub nix: Option<String>,
    /// Whether a build there is really in a sandbox, as a probe found out.
    pub sandbox: Option<bool>,
}

/// What a builder must come up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// Least free space of the store, in MiB.
    pub store: u64,
    /// Least free space of the build directory and `/tmp`, in MiB.
    pub tmp: u64,
    /// Least free inodes, in percent.
    pub inodes: u8,
    /// Greatest clock skew.
    pub skew: Duration,
    /// The oldest Nix.
    pub nix: String,
}

impl Thresholds {
    /// The thresholds in the settings.
    pub fn of(fleet: &FleetSettings) -> Self {
        Self {
            store: fleet.min_free_store,
            tmp: fleet.min_free_tmp,
            inodes: fleet.min_free_inodes,
            skew: fleet.max_clock_skew.get(),
            nix: fleet.min_nix.clone(),
        }
    }
}

/// A place that can fill up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The store.
    Store,
    /// Where builds run.
    BuildDir,
    /// `/tmp`.
    Tmp,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "the store",
            Self::BuildDir => "the build directory",
            Self::Tmp => "/tmp",
        })
    }
}

/// Something that is wrong with a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Defect {
    /// Too little space.
    Space {
        /// Where.
        place: Place,
        /// What is free, in MiB.
        free: u64,
        /// What must be.
        least: u64,
    },
    /// Too few inodes.
    Inodes {
        /// Where.
        place: Place,
        /// What is free, in percent.
        free: u8,
        /// What must be.
        least: u8,
    },
    /// Its clock is off.
    Clock {
        /// By how much.
        skew: Duration,
        /// What is allowed.
        most: Duration,
    },
    /// Its Nix is too old, or its version is none.
    Nix {
        /// Its version.
        version: String,
        /// The oldest allowed.
        least: String,
    },
    /// Builds there run without a sandbox.
    NoSandbox,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Space { place, free, least } => {
                write!(f, "{place} has {free} MiB free, less than {least} MiB")
            }
            Self::Inodes { place, free, least } => {
                write!(f, "{place} has {free} % of its inodes free, less than {least} %")
            }
            Self::Clock { skew, most } => write!(
                f,
                "its clock is off by {:.1} s, more than {:.1} s",
                skew.as_secs_f64(),
                most.as_secs_f64()
            ),
            Self::Nix { version, least } => write!(f, "it runs Nix {version}, older than {least}"),
            Self::NoSandbox => f.write_str("builds there run without a sandbox"),
        }
    }
}

/// Whether a builder may have work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fitness {
    /// It may.
    #[default]
    Fit,
    /// It may not, for at least one reason.
    Unfit(Vec<Defect>),
}

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fit => f.write_str("fit"),
            Self::Unfit(defects) => {
                let all: Vec<String> = defects.iter().map(Defect::to_string).collect();
                f.write_str(&all.join("; "))
            }
        }
    }
}

/// Judges a report. A builder that was unfit for want of space or for its clock must come back with a quarter to
/// spare, so that one at the threshold does not change with every report.
pub fn judge(report: &HealthReport, thresholds: &Thresholds, before: &Fitness) -> Fitness {
    let had = |matches: &dyn Fn(&Defect) -> bool| match before {
        Fitness::Fit => false,
        Fitness::Unfit(defects) => defects.iter().any(matches),
    };
    let mut defects = Vec::new();
    let places = [
        (Place::Store, report.store, thresholds.store),
        (Place::BuildDir, report.build_dir, thresholds.tmp),
        (Place::Tmp, report.tmp, thresholds.tmp),
    ];
    for (place, space, least) in places {
        let Some(space) = space else { continue };
        let was_full = had(&|defect| matches!(defect, Defect::Space { place: other, .. } if *other == place));
        let least = if was_full { least.saturating_add(least.div_ceil(4)) } else { least };
        if space.free < least {
            defects.push(Defect::Space { place, free: space.free, least });
        }
        let was_full =
            had(&|defect| matches!(defect, Defect::Inodes { place: other, .. } if *other == place));
        let inodes = thresholds.inodes;
        let least = if was_full { inodes.saturating_add(inodes.div_ceil(4)) } else { inodes };
        if let Some(free) = space.free_inodes.filter(|free| *free < least) {
            defects.push(Defect::Inodes { place, free, least });
        }
    }
    let was_off = had(&|defect| matches!(defect, Defect::Clock { .. }));
    let most = if was_off { thresholds.skew * 3 / 4 } else { thresholds.skew };
    if let Some(skew) = report.clock_skew.filter(|skew| *skew > most) {
        defects.push(Defect::Clock { skew, most });
    }
    if let Some(version) = &report.nix
        && parse(version).is_none_or(|version| parse(&thresholds.nix).is_some_and(|least| version < least))
    {
        let version = version.chars().filter(char::is_ascii_graphic).take(40).collect();
        defects.push(Defect::Nix { version, least: thresholds.nix.clone() });
    }
    if report.sandbox == Some(false) {
        defects.push(Defect::NoSandbox);
    }
    if defects.is_empty() { Fitness::Fit } else { Fitness::Unfit(defects) }
}

/// The numbers of a version; what follows them (`pre2023…`) is left out, and zeroes at the end mean nothing.
fn parse(version: &str) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    for part in version.trim().split('.') {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse() {
            Ok(number) => numbers.push(number),
            Err(_) => break,
        }
        if digits.len() < part.len() {
            break;
        }
    }
    let is_version = !numbers.is_empty();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    is_version.then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(report: &HealthReport, before: &Fitness) -> Fitness {
        judge(report, &Thresholds::of(&FleetSettings::default()), before)
    }

    fn store(free: u64, free_inodes: Option<u8>) -> HealthReport {
        HealthReport { store: Some(Space { free, free_inodes }), ..HealthReport::default() }
    }

    #[test]
    fn a_disk_at_the_threshold_does_not_flap() {
        let fit = judged(&store(1024, Some(2)), &Fitness::Fit);
        assert_eq!(fit, Fitness::Fit);
        let unfit = judged(&store(1023, Some(2)), &fit);
        assert_eq!(unfit.to_string(), "the store has 1023 MiB free, less than 1024 MiB");
        assert_ne!(judged(&store(1279, Some(2)), &unfit), Fitness::Fit);
        assert_eq!(judged(&store(1280, Some(2)), &unfit), Fitness::Fit);
        let inodes = judged(&store(9999, Some(1)), &Fitness::Fit);
        assert_ne!(judged(&store(9999, Some(2)), &inodes), Fitness::Fit);
        assert_eq!(judged(&store(9999, None), &inodes), Fitness::Fit);
    }

    #[test]
    fn an_old_or_unreadable_nix_is_refused() {
        let nix = |version: &str| HealthReport { nix: Some(version.to_owned()), ..HealthReport::default() };
        for good in ["2.8", "2.8.0", "2.18.1", "3.0pre20240101_abc", "2.8pre1"] {
            assert_eq!(judged(&nix(good), &Fitness::Fit), Fitness::Fit, "{good}");
        }
        for bad in ["2.7.9", "1.11", "", "x", "99999999999999999999999"] {
            assert_ne!(judged(&nix(bad), &Fitness::Fit), Fitness::Fit, "{bad}");
        }
    }

    #[test]
    fn a_clock_and_a_missing_sandbox_are_defects() {
        let report = HealthReport {
            clock_skew: Some(Duration::from_secs(3600)),
            sandbox: Some(false),
            ..HealthReport::default()
        };
        assert_eq!(
            judged(&report, &Fitness::Fit).to_string(),
            "its clock is off by 3600.0 s, more than 5.0 s; builds there run without a sandbox"
        );
    }
}
