//! An instance as EC2 describes it, as the farm sees it.

use aws_sdk_ec2::types::{Image, Instance as Described, InstanceStateName, SpotInstanceRequest};

use super::{
    codes::words,
    launch::{MACHINE, RootDisk},
};
use crate::{
    clock::Timestamp,
    fleet::{Address, Instance, InstanceId, InstanceState},
};

/// The code of an instance that EC2 has taken back.
const RECLAIMED: &str = "Server.SpotInstanceTermination";
/// The port of a machine's sshd.
const SSH: u16 = 22;

/// An instance, and what else is to be known of it.
#[derive(Debug)]
pub(super) struct Seen {
    /// The instance.
    pub(super) instance: Instance,
    /// The spot request that keeps it running.
    pub(super) spot_request: Option<String>,
}

/// The instance, or none if EC2 has left out what makes it one. `public`: reached by its public address.
pub(super) fn instance(seen: &Described, public: bool) -> Option<Seen> {
    let state = state(seen.state()?.name()?)?;
    let machine = seen.tags().iter().find(|tag| tag.key() == Some(MACHINE)).and_then(|tag| tag.value());
    let host = if public { seen.public_ip_address() } else { seen.private_ip_address() };
    let host = host.filter(|host| host.parse::<std::net::IpAddr>().is_ok());
    let is_up = matches!(state, InstanceState::Pending | InstanceState::Running);
    let instance = Instance {
        id: InstanceId::new(seen.instance_id()?)?,
        machine: machine.and_then(|text| text.parse().ok()),
        state,
        address: host.map(|host| Address { host: host.to_owned(), port: SSH }.into()),
        launched: seen.launch_time().and_then(|time| u64::try_from(time.secs()).ok()).map(moment),
        why: why(seen),
        interrupted: seen.state_reason().and_then(|reason| reason.code()) == Some(RECLAIMED),
    };
    let spot_request = seen.spot_instance_request_id().filter(|_| is_up).map(str::to_owned);
    Some(Seen { instance, spot_request })
}

fn moment(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

fn state(name: &InstanceStateName) -> Option<InstanceState> {
    Some(match name {
        InstanceStateName::Pending => InstanceState::Pending,
        InstanceStateName::Running => InstanceState::Running,
        InstanceStateName::Stopping => InstanceState::Stopping,
        InstanceStateName::Stopped => InstanceState::Stopped,
        InstanceStateName::ShuttingDown => InstanceState::Terminating,
        InstanceStateName::Terminated => InstanceState::Gone,
        // The enum is Amazon's, and may grow.
        _ => return None,
    })
}

/// Why its state has changed, with the code where there is one.
fn why(seen: &Described) -> Option<String> {
    let reason = seen.state_reason().map(|reason| {
        let texts = [reason.code(), reason.message()];
        texts.into_iter().flatten().collect::<Vec<_>>().join(": ")
    });
    let reason = reason.or_else(|| seen.state_transition_reason().map(str::to_owned));
    reason.filter(|text| !text.is_empty()).map(|text| words(&text))
}

/// The root disk of an image, if it has one.
pub(super) fn root_disk(image: &Image) -> Option<RootDisk> {
    let name = image.root_device_name()?.to_owned();
    let root = image.block_device_mappings().iter().find(|disk| disk.device_name() == Some(&name));
    let gib = root.and_then(|disk| disk.ebs()?.volume_size());
    Some(RootDisk { name, gib })
}

/// The instance that a spot request is about, if EC2 will take it back within minutes.
pub(super) fn notice(request: &SpotInstanceRequest) -> Option<(InstanceId, String)> {
    let status = request.status()?;
    let code = status.code().filter(|code| code.starts_with("marked-for-"))?;
    let id = InstanceId::new(request.instance_id()?)?;
    Some((id, words(&format!("{code}: {}", status.message().unwrap_or("no message")))))
}
