//! The actions, each as a function from a form to XML.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    launch,
    wire::{self, Form, Refusal, element, list, text},
    world::{Event, Machine, Market, State, World},
};

/// The answer to a call.
pub(super) fn answer(world: &mut World, action: &str, form: &Form) -> Result<String, Refusal> {
    let inside = match action {
        "RunInstances" => {
            let id = launch::run(world, form)?;
            let machine = world.machine(&id).unwrap();
            text("reservationId", "r-1") + &list("instancesSet", [describe(machine)])
        }
        "DescribeInstances" => describe_instances(world, form)?,
        "DescribeImages" => describe_images(world, form)?,
        "DescribeSpotInstanceRequests" => spot_requests(world, form),
        "TerminateInstances" => change(world, form, |world, id| {
            world.events.push(Event::Terminated { id: id.to_owned() });
            world.end(
                id,
                "Client.UserInitiatedShutdown",
                "Client.UserInitiatedShutdown: User initiated shutdown",
            );
            Ok(())
        })?,
        "StopInstances" => change(world, form, stop)?,
        "StartInstances" => change(world, form, start)?,
        "GetConsoleOutput" => {
            let machine = find(world, form.need("InstanceId")?)?;
            text("instanceId", &machine.id) + &element("output", &BASE64_STANDARD.encode(&machine.console))
        }
        other => {
            let message = format!("The action {other} is not valid for this web service.");
            return Err(Refusal::new("InvalidAction", &message));
        }
    };
    Ok(wire::answer(action, &inside))
}

/// The answer to a call of what stands behind the instances.
pub(super) fn observe(world: &mut World, action: &str, form: &Form) -> Result<String, Refusal> {
    let inside = match action {
        "DescribeInstances" => {
            let item = |machine: &Machine| list("instancesSet", [describe(machine)]);
            list("reservationSet", world.machines.iter().map(item))
        }
        "DescribeInstanceAttribute" => attribute(world, form)?,
        "DescribeSubnets" => {
            let item =
                |(id, zone): (&String, &String)| text("subnetId", id) + &text("availabilityZone", zone);
            list("subnetSet", world.rules.subnets.iter().map(item))
        }
        "TerminateInstances" | "StopInstances" => {
            world.power_off(form.need("InstanceId.1")?);
            String::new()
        }
        other => return Err(Refusal::new("InvalidAction", &format!("no action {other}"))),
    };
    Ok(wire::answer(action, &inside))
}

fn find<'a>(world: &'a mut World, id: &str) -> Result<&'a mut Machine, Refusal> {
    let missing = || {
        let message = format!("The instance ID '{id}' does not exist");
        Refusal::new("InvalidInstanceID.NotFound", &message)
    };
    world.machine(id).filter(|machine| machine.hidden == 0).ok_or_else(missing)
}

fn describe_instances(world: &mut World, form: &Form) -> Result<String, Refusal> {
    let ids = form.list("InstanceId");
    let filters = form.filters();
    let wanted = |machine: &Machine| {
        (ids.is_empty() || ids.contains(&machine.id.as_str()))
            && filters.iter().all(|(name, values)| values.iter().any(|value| matches(machine, name, value)))
    };
    if let Some((name, _)) = filters.iter().find(|(name, _)| !is_filter(name)) {
        let message = format!("The filter '{name}' is invalid");
        return Err(Refusal::new("InvalidParameterValue", &message));
    }
    let token = form.get("NextToken").unwrap_or("0");
    let from: usize = token.parse().map_err(|_| Refusal::new("InvalidNextToken", "no such token"))?;
    let chosen: Vec<usize> =
        (0..world.machines.len()).filter(|index| wanted(&world.machines[*index])).collect();
    let asked = form.get("MaxResults").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    let size = world.rules.page.min(asked);
    let page: Vec<usize> = chosen.iter().copied().skip(from).take(size).collect();
    let seen: Vec<usize> = page.into_iter().filter(|index| world.look(*index)).collect();
    // A name that is asked for must be there.
    for id in &ids {
        if !seen.iter().any(|index| world.machines[*index].id == *id) {
            let message = format!("The instance ID '{id}' does not exist");
            return Err(Refusal::new("InvalidInstanceID.NotFound", &message));
        }
    }
    let reservation = |index: &usize| {
        text("reservationId", "r-1") + &list("instancesSet", [describe(&world.machines[*index])])
    };
    let next = from + size.min(chosen.len());
    let more = if next < chosen.len() { text("nextToken", &next.to_string()) } else { String::new() };
    Ok(list("reservationSet", seen.iter().map(reservation)) + &more)
}

fn is_filter(name: &str) -> bool {
    name.starts_with("tag:") || ["instance-state-name", "client-token"].contains(&name)
}

fn matches(machine: &Machine, filter: &str, value: &str) -> bool {
    match filter.strip_prefix("tag:") {
        Some(key) => machine.tags.get(key).is_some_and(|own| own == value),
        None if filter == "client-token" => machine.token == value,
        None => machine.state.on_wire().0 == value,
    }
}

fn describe(machine: &Machine) -> String {
    let (name, code) = machine.state.on_wire();
    let state = element("code", &code.to_string()) + &element("name", name);
    let is_gone = machine.state == State::Terminated;
    let tag = |(key, value): (&String, &String)| text("key", key) + &text("value", value);
    let reason = machine.reason.as_ref().filter(|_| machine.state != State::Running);
    let reason = reason
        .map(|(code, message)| element("stateReason", &(text("code", code) + &text("message", message))));
    let lifecycle = match machine.market {
        Market::OnDemand => String::new(),
        Market::Spot => {
            element("instanceLifecycle", "spot") + &text("spotInstanceRequestId", &spot_request(machine))
        }
    };
    let public = machine.public_ip.as_ref().filter(|_| !is_gone && machine.state != State::Pending);
    let seconds = i64::try_from(machine.launched).unwrap();
    let launched = jiff::Timestamp::from_second(seconds).unwrap();
    [
        text("instanceId", &machine.id),
        element("instanceState", &state),
        if is_gone { String::new() } else { text("privateIpAddress", &machine.private_ip) },
        public.map_or_else(String::new, |address| text("ipAddress", address)),
        text("instanceType", &machine.kind),
        text("clientToken", &machine.token),
        text("launchTime", &launched.to_string()),
        element("placement", &text("availabilityZone", &machine.zone)),
        list("tagSet", machine.tags.iter().map(tag)),
        reason.unwrap_or_default(),
        lifecycle,
    ]
    .concat()
}

fn spot_request(machine: &Machine) -> String {
    machine.id.replacen("i-", "sir-", 1)
}

fn describe_images(world: &World, form: &Form) -> Result<String, Refusal> {
    let mut items = Vec::new();
    for id in form.list("ImageId") {
        if !world.rules.images.contains(id) {
            let message = format!("The image id '[{id}]' does not exist");
            return Err(Refusal::new("InvalidAMIID.NotFound", &message));
        }
        let disk = text("deviceName", "/dev/xvda") + &element("ebs", &element("volumeSize", "8"));
        let disks = list("blockDeviceMapping", [disk]);
        items.push(text("imageId", id) + &text("rootDeviceName", "/dev/xvda") + &disks);
    }
    Ok(list("imagesSet", items))
}

fn attribute(world: &mut World, form: &Form) -> Result<String, Refusal> {
    let name = form.need("Attribute")?;
    let id = form.need("InstanceId")?;
    let machine = world.machine(id).ok_or_else(|| Refusal::new("InvalidInstanceID.NotFound", id))?;
    let value = match name {
        "userData" => machine.user_data.as_str(),
        "instanceInitiatedShutdownBehavior" if machine.ends_at_poweroff => "terminate",
        "instanceInitiatedShutdownBehavior" => "stop",
        other => return Err(Refusal::new("InvalidParameterValue", &format!("no attribute {other}"))),
    };
    Ok(text("instanceId", &machine.id) + &element(name, &text("value", value)))
}

fn spot_requests(world: &World, form: &Form) -> String {
    let wanted: Vec<&str> = form.filters().into_iter().flat_map(|(_, values)| values).collect();
    let machines = world.machines.iter().filter(|machine| wanted.contains(&&*spot_request(machine)));
    let item = |machine: &Machine| {
        let status = if machine.notice {
            text("code", "marked-for-termination")
                + &text("message", "Your Spot Instance is marked for termination.")
        } else {
            text("code", "fulfilled") + &text("message", "Your Spot request is fulfilled.")
        };
        text("spotInstanceRequestId", &spot_request(machine))
            + &text("instanceId", &machine.id)
            + &element("state", "active")
            + &element("status", &status)
    };
    list("spotInstanceRequestSet", machines.map(item))
}

/// An action on instances, all of which must be there.
fn change(
    world: &mut World,
    form: &Form,
    each: fn(&mut World, &str) -> Result<(), Refusal>,
) -> Result<String, Refusal> {
    let ids = form.list("InstanceId");
    for id in &ids {
        find(world, id)?;
    }
    let mut items = Vec::new();
    for id in ids {
        let state = |world: &mut World| {
            let (name, code) = world.machine(id).unwrap().state.on_wire();
            element("code", &code.to_string()) + &element("name", name)
        };
        let before = state(world);
        each(world, id)?;
        let after = state(world);
        items.push(
            text("instanceId", id) + &element("currentState", &after) + &element("previousState", &before),
        );
    }
    Ok(list("instancesSet", items))
}

fn stop(world: &mut World, id: &str) -> Result<(), Refusal> {
    let machine = world.machine(id).unwrap();
    match (machine.market, machine.state) {
        (Market::Spot, _) => {
            let message =
                "You can't stop the Spot Instance because it is associated with a one-time request.";
            Err(Refusal::new("UnsupportedOperation", message))
        }
        (_, State::ShuttingDown | State::Terminated | State::Pending) => Err(wrong_state(id)),
        (_, State::Running | State::Stopping | State::Stopped) => {
            if machine.state == State::Running {
                let message = "Client.UserInitiatedShutdown: User initiated shutdown";
                world.move_to(id, State::Stopping, "Client.UserInitiatedShutdown", message);
            }
            Ok(())
        }
    }
}

fn start(world: &mut World, id: &str) -> Result<(), Refusal> {
    match world.machine(id).unwrap().state {
        State::Stopped => {
            world.move_to(id, State::Pending, "pending", "pending");
            Ok(())
        }
        State::Pending | State::Running => Ok(()),
        State::Stopping | State::ShuttingDown | State::Terminated => Err(wrong_state(id)),
    }
}

fn wrong_state(id: &str) -> Refusal {
    let message = format!("The instance '{id}' is not in a state from which it can do that.");
    Refusal::new("IncorrectInstanceState", &message)
}
