//! `croft check` on a real terminal, kept by tmux: what is left on the screen, and that the cursor is back.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use super::support::{Place, skip};

/// A terminal of 100 columns and 30 lines that runs one command.
struct Screen<'a> {
    place: &'a Place,
}

impl<'a> Screen<'a> {
    /// Starts `croft` with arguments; `None` where there is no tmux.
    fn start(place: &'a Place, args: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skip("tmux is not installed");
            return None;
        }
        let screen = Self { place };
        let croft = env!("CARGO_BIN_EXE_croft");
        let script = format!(
            "{croft} {args}; echo \"ended with $?, $(stty -a | tr ' ;' '\\n\\n' | grep echoctl)\"; read wait"
        );
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", &script]);
        Some(screen)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        self.place.dress(&mut tmux);
        tmux.env("TERM", "xterm-256color").env("TMUX_TMPDIR", self.place.path("home"));
        let done = tmux.args(args).output().unwrap();
        assert!(done.status.success(), "tmux {args:?}: {}", done.stderr.escape_ascii());
        String::from_utf8(done.stdout).unwrap()
    }

    /// Waits until the screen shows `text`, and returns all of it.
    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let shown = self.tmux(&["capture-pane", "-p"]);
            if shown.contains(text) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{text:?} does not come:\n{shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn assert_in_order(&self, shown: &str) {
        for live in ['▶', '⠁', '⠂', '⠄', '⡀', '⢀', '⠠', '⠐', '⠈'] {
            assert!(!shown.contains(live), "the live region is left:\n{shown}");
        }
        assert_eq!(
            self.tmux(&["display-message", "-p", "#{cursor_flag}"]).trim(),
            "1",
            "the cursor is hidden"
        );
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn the_live_region_gives_way_to_verdicts() {
    let place = Place::new();
    place.flake(
        r#"{ quick = cell "quick" { } ok;
             slow = cell "slow" { } "sleep 3; echo > $out";
             wrong = cell "wrong" { } "echo '@croft {\"v\":1,\"event\":\"test\",\"suite\":\"s\",\"name\":\"breaks\",\"status\":\"failed\",\"ms\":1,\"message\":\"1 is not 2\"}'; exit 1"; }"#,
    );
    let Some(screen) = Screen::start(&place, "check") else { return };
    screen.wait_for("▶ slow");
    let shown = screen.wait_for("ended with");
    screen.assert_in_order(&shown);
    assert!(shown.contains("ended with 1, echoctl"), "{shown}");
    for line in ["✓ passed     quick", "✓ passed     slow", "✗ failed     wrong", "✗ s breaks", "1 is not 2"]
    {
        assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
    }
    assert!(shown.contains("3 cells: 2 passed, 1 failed; 1 test, 1 failed"), "{shown}");
}

#[test]
fn an_interrupt_leaves_the_screen_in_order_and_nothing_behind() {
    let place = Place::new();
    place.flake("{ slow = cell \"slow\" { } \"sleep 60; echo > $out\"; }");
    let Some(screen) = Screen::start(&place, "check") else { return };
    screen.wait_for("▶ slow");
    screen.tmux(&["send-keys", "C-c"]);
    let shown = screen.wait_for("ended with");
    screen.assert_in_order(&shown);
    assert!(shown.contains("ended with 130, echoctl") && shown.contains("stopping"), "{shown}");
    drop(screen);
    place.assert_nobody_is_left();
    place.run(&["status"]).exits(0).prints(&["cancelled"]);
    place.run(&["plan"]).exits(0).prints(&["1 derivation to build"]);
}
