//! What a machine is told at its first start. Pure: the same order gives the same text.
//!
//! All values travel in base64, so none of them can end a line, a quotation or a command.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::LaunchOrder;
use crate::config::Setup;

/// The most that EC2 takes as user data, in bytes before its own base64.
pub const MAX_USER_DATA: usize = 16 * 1024;

/// For stock Debian and Ubuntu images; `@name@` stands for a value in base64.
const CLOUD_INIT: &str = include_str!("boot/cloud-init.sh");

/// The user data of a machine: `key base64` lines for an image of ours, a script for a stock one.
pub fn render(order: &LaunchOrder, setup: Setup) -> String {
    let values = values(order);
    match setup {
        Setup::Image => values.iter().flat_map(|(key, value)| [key, " ", value.as_str(), "\n"]).collect(),
        Setup::CloudInit => values
            .iter()
            .fold(CLOUD_INIT.to_owned(), |text, (key, value)| text.replace(&format!("@{key}@"), value)),
    }
}

/// What a machine is told, in base64.
fn values(order: &LaunchOrder) -> [(&'static str, String); 6] {
    let expires = order.expires.as_millis() / 1000;
    let ended = |text: &str| format!("{}\n", text.trim_end());
    [
        ("host_key", ended(order.identity.host_key.reveal())),
        ("authorized_key", ended(&order.identity.authorized_key)),
        ("lease", order.lease.as_secs().to_string()),
        ("expires", expires.to_string()),
        ("name", order.name.clone()),
        ("machine", order.machine.to_string()),
    ]
    .map(|(key, value)| (key, STANDARD.encode(value)))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, process::Command, time::Duration};

    use super::*;
    use crate::{
        clock::Timestamp,
        fleet::{Identity, Market, Secret, Shape},
        ids::{FarmId, MachineId},
    };

    fn order(name: &str) -> LaunchOrder {
        let now = Timestamp::from_millis(1_700_000_000_000);
        LaunchOrder {
            farm: FarmId::new(now),
            machine: MachineId::new(now),
            name: name.to_owned(),
            pool: "p".parse().unwrap(),
            shape: Shape { instance_type: None, zone: None, market: Market::OnDemand },
            identity: Identity {
                host_key: Secret::new("-----BEGIN'\"$(reboot)`\n-----END".to_owned()),
                host_key_public: "ssh-ed25519 AAAA".to_owned(),
                authorized_key: "ssh-ed25519 BBBB farm".to_owned(),
            },
            lease: Duration::from_secs(90),
            expires: now.plus(Duration::from_secs(3600)),
        }
    }

    #[test]
    fn an_image_is_told_in_lines_of_a_key_and_base64() {
        let text = render(&order("p-1"), Setup::Image);
        let lines: Vec<(&str, Vec<u8>)> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(key, value)| (key, STANDARD.decode(value).unwrap()))
            .collect();
        assert_eq!(lines[0], ("host_key", b"-----BEGIN'\"$(reboot)`\n-----END\n".to_vec()));
        assert_eq!(lines[2], ("lease", b"90".to_vec()));
        assert_eq!(lines[3], ("expires", b"1700003600".to_vec()));
    }

    #[test]
    fn the_script_is_one_for_a_shell_with_nothing_left_open() {
        let text = render(&order("p-1'; reboot #\n"), Setup::CloudInit);
        assert!(text.len() < MAX_USER_DATA, "{} bytes", text.len());
        assert!(
            !text.contains("reboot #") && !text.contains("$(reboot)"),
            "a value has come out of its quotes"
        );
        let keys = values(&order("p-1")).map(|(key, _)| format!("@{key}@"));
        assert!(keys.iter().take(5).all(|key| CLOUD_INIT.contains(key.as_str())), "a value is not used");
        assert!(keys.iter().all(|key| !text.contains(key.as_str())), "a placeholder is left: {text}");
        let left = text.lines().find(|line| line.contains("='@") || line.contains("@'"));
        assert_eq!(left, None, "a placeholder that nobody fills");
        for shell in ["sh", "bash"] {
            let mut child =
                Command::new(shell).arg("-n").stdin(std::process::Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{shell} does not take it");
        }
    }
}
