//! `RunInstances`, with all that it refuses.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    wire::{Form, Refusal},
    world::{Event, Machine, Market, Offer, State, World},
};

/// Beginnings of the parameters that are understood.
const KNOWN: [&str; 20] = [
    "Action",
    "BlockDeviceMapping.",
    "ClientToken",
    "CpuOptions.",
    "DisableApiTermination",
    "IamInstanceProfile.",
    "ImageId",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions.",
    "InstanceType",
    "LaunchTemplate.",
    "MaxCount",
    "MetadataOptions.",
    "MinCount",
    "NetworkInterface.",
    "Placement.",
    "SecurityGroupId.",
    "SubnetId",
    "TagSpecification.",
    "UserData",
];

/// Launches an instance, or gives the one that the token has launched before.
pub(super) fn run(world: &mut World, form: &Form) -> Result<String, Refusal> {
    let token = form.need("ClientToken")?.to_owned();
    let parameters: BTreeMap<String, String> =
        form.names().map(|name| (name.to_owned(), form.get(name).unwrap_or_default().to_owned())).collect();
    if let Some((earlier, id)) = world.tokens.get(&token) {
        let id = id.clone();
        if *earlier != parameters {
            return Err(Refusal::new(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ));
        }
        world.events.push(Event::Repeated { id: id.clone() });
        return Ok(id);
    }
    let machine = machine(world, form, &token, &parameters)?;
    let id = machine.id.clone();
    world.tokens.insert(token.clone(), (parameters, id.clone()));
    world.events.push(Event::Launched { id: id.clone(), token });
    world.machines.push(machine);
    Ok(id)
}

fn machine(
    world: &World,
    form: &Form,
    token: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Machine, Refusal> {
    let is_known = |name: &&str| KNOWN.iter().any(|known| name.starts_with(known)) || *name == "Version";
    if let Some(name) = form.names().find(|name| !is_known(name)) {
        return Err(Refusal::new("UnknownParameter", &format!("The parameter {name} is not recognized")));
    }
    let kind = image_and_type(world, form)?;
    let zone = zone(world, form)?;
    let market = match form.get("InstanceMarketOptions.MarketType") {
        Some("spot") => Market::Spot,
        _ => Market::OnDemand,
    };
    let user_data = user_data(form)?;
    available(world, &kind, &zone, market)?;
    let number = world.machines.len() + 1;
    let is_public = form.get("NetworkInterface.1.AssociatePublicIpAddress") == Some("true");
    Ok(Machine {
        id: format!("i-{number:017x}"),
        token: token.to_owned(),
        kind,
        zone,
        market,
        tags: form.tags("instance"),
        volume_tags: form.tags("volume"),
        parameters: parameters.clone(),
        user_data,
        private_ip: format!("172.31.{}.{}", number / 250, number % 250 + 4),
        public_ip: is_public.then(|| format!("203.0.113.{}", number % 250 + 1)),
        state: State::Pending,
        reason: Some(("pending".to_owned(), "pending".to_owned())),
        launched: 1_700_000_000 + u64::try_from(number).unwrap(),
        notice: false,
        console: String::new(),
        ends_at_poweroff: form.get("InstanceInitiatedShutdownBehavior") == Some("terminate"),
        hidden: world.rules.hidden_for,
        left: world.rules.pending_for,
    })
}

fn image_and_type(world: &World, form: &Form) -> Result<String, Refusal> {
    let template =
        form.get("LaunchTemplate.LaunchTemplateName").or(form.get("LaunchTemplate.LaunchTemplateId"));
    let template = template.map(|name| {
        let missing = || {
            let message =
                format!("The specified launch template, with template name {name}, does not exist.");
            Refusal::new("InvalidLaunchTemplateName.NotFoundException", &message)
        };
        world.rules.templates.get(name).ok_or_else(missing)
    });
    let template = template.transpose()?;
    let image = form.get("ImageId").or(template.map(|template| template.0.as_str()));
    let image = image.ok_or_else(|| Refusal::new("MissingParameter", "The request must contain ImageId"))?;
    if !world.rules.images.contains(image) {
        let message = format!("The image id '[{image}]' does not exist");
        return Err(Refusal::new("InvalidAMIID.NotFound", &message));
    }
    let kind =
        form.get("InstanceType").or(template.map(|template| template.1.as_str())).unwrap_or("m1.small");
    if !kind.contains('.') {
        let message = format!("Invalid value '{kind}' for InstanceType.");
        return Err(Refusal::new("InvalidParameterValue", &message));
    }
    Ok(kind.to_owned())
}

fn zone(world: &World, form: &Form) -> Result<String, Refusal> {
    match form.get("SubnetId").or(form.get("NetworkInterface.1.SubnetId")) {
        Some(subnet) => world.rules.subnets.get(subnet).cloned().ok_or_else(|| {
            let message = format!("The subnet ID '{subnet}' does not exist");
            Refusal::new("InvalidSubnetID.NotFound", &message)
        }),
        None => Ok(form.get("Placement.AvailabilityZone").unwrap_or("eu-central-1a").to_owned()),
    }
}

fn user_data(form: &Form) -> Result<String, Refusal> {
    let data = form.get("UserData").unwrap_or_default();
    match BASE64_STANDARD.decode(data) {
        Err(_) => Err(Refusal::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data")),
        Ok(bytes) if bytes.len() > 16 << 10 => {
            Err(Refusal::new("InvalidParameterValue", "User data is limited to 16384 bytes"))
        }
        Ok(_) => Ok(data.to_owned()),
    }
}

fn available(world: &World, kind: &str, zone: &str, market: Market) -> Result<(), Refusal> {
    let alive = world.machines.iter().filter(|machine| machine.state != State::Terminated).count();
    if alive >= world.rules.quota {
        return Err(Refusal::new(
            "VcpuLimitExceeded",
            "You have requested more vCPU capacity than your limit.",
        ));
    }
    let is_it = |offer: &Offer| {
        offer.kind.is_none_or(|own| own == kind)
            && offer.zone.is_none_or(|own| own == zone)
            && offer.market.is_none_or(|own| own == market)
    };
    if world.rules.sold_out.iter().any(is_it) {
        let message = format!("We currently do not have sufficient {kind} capacity in {zone}.");
        return Err(Refusal { status: 500, ..Refusal::new("InsufficientInstanceCapacity", &message) });
    }
    Ok(())
}
