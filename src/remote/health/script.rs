//! The loop that runs on the machine: POSIX shell, coreutils and /proc alone.

use std::path::Path;

use super::{HealthSettings, Notice};
use crate::remote::ssh::shell_word;

/// How long the command that prints a notice may take.
const NOTICE_SECONDS: u32 = 2;

/// What the loop says first.
pub(super) const READY: &str = "ready";

/// For each line on its input, which must be a word: renew the lease, then one line of JSON. What is not known is 0.
/// Each program that is started counts: a slow machine takes tens of milliseconds for one.
const LOOP: &str = r#"
echo ready
disks() { stat -f -c '[%S,%b,%a,%c,%d]' -- "$@" 2>/dev/null; }
disk() { disks "$1" || echo '[0,0,0,0,0]'; }
while IFS= read -r word; do
  renewed=false
  if [ -n "$lease" ] && touch -- "$lease" 2>/dev/null; then renewed=true; fi
  load=0; read -r load rest < /proc/loadavg
  total=0; available=0
  while read -r name amount rest; do
    case $name in MemTotal:) total=$amount ;; MemAvailable:) available=$amount; break ;; esac
  done < /proc/meminfo
  told=
  if is_told; then told=$(notice 2>/dev/null | head -c 600 | base64 | tr -d '\n'); fi
  set -- $(disks "$store" "$build" /tmp)
  if [ $# != 3 ]; then set -- "$(disk "$store")" "$(disk "$build")" "$(disk /tmp)"; fi
  printf '{"word":"%s","renewed":%s,"time":"%s","store":%s,"build":%s,"tmp":%s,"load":%s,"memory":[%s,%s],"notice":"%s"}\n' \
    "$word" "$renewed" "$(date +%s%3N)" "$1" "$2" "$3" "$load" "$total" "$available" "$told"
done
"#;

/// The command line for the login shell of the machine.
pub(super) fn command(settings: &HealthSettings) -> String {
    let text = |path: &Path| shell_word(&path.display().to_string());
    let lease = settings.lease.as_deref().map(text).unwrap_or_default();
    let (is_told, notice) = match &settings.notice {
        Notice::None => ("false".to_owned(), ":".to_owned()),
        Notice::File(path) => (format!("[ -e {} ]", text(path)), format!("cat -- {}", text(path))),
        Notice::Command(command) => {
            ("true".to_owned(), format!("timeout {NOTICE_SECONDS} sh -c {}", shell_word(command)))
        }
    };
    let script = format!(
        "lease={lease}\nstore={}\nbuild={}\nis_told() {{ {is_told}\n}}\nnotice() {{ {notice}\n}}\n{LOOP}",
        text(&settings.store),
        text(&settings.build),
    );
    format!("exec sh -c {}", shell_word(&script))
}
