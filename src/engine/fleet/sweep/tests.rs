use super::*;
use crate::lifecycle::Address;

const NOW: u64 = 1_000_000_000;
const POOL: &str = "cloud";

fn at(seconds_ago: u64) -> Timestamp {
    Timestamp::from_millis(NOW - seconds_ago * 1000)
}

fn name(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}

/// A machine that runs as `i-1`, was launched an hour ago and is wanted.
fn record(owner: OwnerId) -> MachineRecord {
    MachineRecord {
        id: MachineId::new(at(3600)),
        name: "cloud-1".to_owned(),
        pool: Some(POOL.to_owned()),
        provider: "ec2".to_owned(),
        shape: None,
        why: String::new(),
        owner: Some(owner),
        wanted: Wanted::Up,
        seen: Seen::Ready,
        wanted_since: at(3600),
        seen_since: at(3600),
        replaces: None,
        ending: None,
        hold: None,
        instance: Some(name("i-1")),
        reach: None,
        host_key: None,
        slots: 1,
        price: 0,
        requested: at(3600),
        launched: Some(at(3600)),
        joined: None,
        idle_since: None,
        ended: None,
        builds: 0,
        infra: 0,
        running: 0,
        interrupted: false,
        nix: None,
        health: None,
        health_at: None,
    }
}

fn instance(id: &str, state: InstanceState) -> Instance {
    Instance {
        id: name(id),
        machine: None,
        state,
        address: None,
        launched: Some(at(3600)),
        why: Some("told".to_owned()),
        interrupted: false,
    }
}

/// What each of `times` looks finds.
fn look(
    owner: OwnerId,
    records: &[MachineRecord],
    instances: &[Instance],
    looks: &mut Looks,
    times: usize,
) -> Vec<Vec<Finding>> {
    let launching = HashSet::new();
    let view = View {
        pool: POOL,
        instances,
        records,
        owner,
        launching: &launching,
        now: Timestamp::from_millis(NOW),
    };
    (0..times).map(|_| compare(&view, looks)).collect()
}

fn owner() -> OwnerId {
    OwnerId::new(at(0))
}

#[test]
fn what_a_list_says_of_a_machine_on_record() {
    let owner = owner();
    let base = record(owner);
    let id = base.id;
    let told = || EndReason::EndedByProvider("told".to_owned());
    let (ready, dormant, requested) = (Seen::Ready, Seen::Dormant, Seen::Requested);
    let table: Vec<(Wanted, Seen, InstanceState, Vec<Finding>)> = vec![
        (Wanted::Up, ready, InstanceState::Running, vec![]),
        (Wanted::Up, Seen::Unreachable, InstanceState::Running, vec![]),
        (Wanted::Up, requested, InstanceState::Pending, vec![Finding::Launched(id, name("i-1"))]),
        (Wanted::Gone, requested, InstanceState::Running, vec![Finding::Launched(id, name("i-1"))]),
        (Wanted::Up, ready, InstanceState::Terminating, vec![Finding::Ended(id, told())]),
        (Wanted::Gone, ready, InstanceState::Terminating, vec![]),
        (
            Wanted::Up,
            ready,
            InstanceState::Gone,
            vec![Finding::Ended(id, told()), Finding::Seen(id, Seen::Gone)],
        ),
        (Wanted::Gone, ready, InstanceState::Gone, vec![Finding::Seen(id, Seen::Gone)]),
        (Wanted::Dormant, ready, InstanceState::Stopping, vec![]),
        (Wanted::Dormant, ready, InstanceState::Stopped, vec![Finding::Seen(id, dormant)]),
        (Wanted::Dormant, dormant, InstanceState::Stopped, vec![]),
        (Wanted::Up, dormant, InstanceState::Pending, vec![Finding::Seen(id, Seen::Booting)]),
    ];
    for (wanted, seen, state, expected) in table {
        let record = MachineRecord { wanted, seen, ..base.clone() };
        let found = look(owner, &[record], &[instance("i-1", state)], &mut Looks::default(), 1).remove(0);
        assert_eq!(found, expected, "{wanted:?} {seen:?} {state:?}");
    }
}

#[test]
fn a_machine_is_known_by_its_mark_before_its_instance_is_on_record() {
    let owner = owner();
    let record = MachineRecord { instance: None, seen: Seen::Requested, ..record(owner) };
    let reach = Reach::from(Address { host: "10.0.0.1".to_owned(), port: 22 });
    let listed = Instance {
        machine: Some(record.id),
        address: Some(reach.clone()),
        interrupted: true,
        ..instance("i-7", InstanceState::Running)
    };
    let id = record.id;
    let found = look(owner, &[record], &[listed], &mut Looks::default(), 2).remove(1);
    let expected =
        [Finding::Launched(id, name("i-7")), Finding::Interrupted(id), Finding::Reachable(id, reach)];
    assert_eq!(found, expected);
}

#[test]
fn a_machine_that_is_not_listed_is_asked_about_when_that_can_mean_something() {
    let owner = owner();
    let old = record(owner);
    let young = MachineRecord { launched: Some(at(10)), requested: at(12), ..old.clone() };
    let ended = |record: &MachineRecord| MachineRecord { wanted: Wanted::Gone, ..record.clone() };
    let unlaunched = |record: &MachineRecord| MachineRecord {
        instance: None,
        launched: None,
        seen: Seen::Requested,
        ..record.clone()
    };
    // At the first look and at the second.
    let table = [
        ("old", old.clone(), [None, Some(Proof::Silence)]),
        ("young", young.clone(), [None, None]),
        ("old, ended", ended(&old), [Some(Proof::Silence), Some(Proof::Silence)]),
        // Its end may have come before the provider knew it.
        ("young, ended", ended(&young), [Some(Proof::Word), Some(Proof::Word)]),
        ("old, never launched", unlaunched(&old), [None, Some(Proof::Silence)]),
        ("young, perhaps launched", ended(&unlaunched(&young)), [None, None]),
    ];
    for (what, record, expected) in table {
        let found = look(owner, &[record], &[], &mut Looks::default(), 2);
        let proofs: Vec<Option<Proof>> = found
            .iter()
            .map(|findings| match findings.as_slice() {
                [Finding::Missing(_, _, proof)] => Some(*proof),
                [] => None,
                other => panic!("{what}: {other:?}"),
            })
            .collect();
        assert_eq!(proofs, expected, "{what}");
    }
}

#[test]
fn a_young_machine_that_was_listed_once_is_missing_when_it_is_not() {
    let owner = owner();
    let record = MachineRecord { launched: Some(at(10)), ..record(owner) };
    let mut looks = Looks::default();
    let records = [record];
    look(owner, &records, &[instance("i-1", InstanceState::Running)], &mut looks, 1);
    let found = look(owner, &records, &[], &mut looks, 2);
    assert!(found[0].is_empty(), "{found:?}");
    assert!(matches!(found[1].as_slice(), [Finding::Missing(_, _, Proof::Silence)]), "{found:?}");
}

#[test]
fn nothing_is_found_of_what_others_keep() {
    let owner = owner();
    let others = MachineRecord { owner: Some(OwnerId::new(at(1))), ..record(owner) };
    let elsewhere = MachineRecord { pool: Some("other".to_owned()), ..record(owner) };
    let always_there = MachineRecord { pool: None, instance: None, ..record(owner) };
    for record in [others, elsewhere, always_there] {
        let found = look(owner, std::slice::from_ref(&record), &[], &mut Looks::default(), 3);
        assert!(found.iter().all(Vec::is_empty), "{found:?}");
        let listed = instance("i-1", InstanceState::Terminating);
        let found = look(owner, &[record], &[listed], &mut Looks::default(), 3);
        assert!(found.iter().all(Vec::is_empty), "{found:?}");
    }
}

#[test]
fn an_instance_without_a_record_is_an_orphan_at_the_second_look_unless_it_is_young() {
    let owner = owner();
    let young = Instance { launched: Some(at(5)), ..instance("i-9", InstanceState::Running) };
    let timeless = Instance { launched: None, ..instance("i-9", InstanceState::Running) };
    let orphan = vec![Finding::Orphan(name("i-9"))];
    let table = [
        ("running", instance("i-9", InstanceState::Running), vec![vec![], orphan.clone()]),
        ("pending", instance("i-9", InstanceState::Pending), vec![vec![], orphan.clone()]),
        ("stopped", instance("i-9", InstanceState::Stopped), vec![vec![], orphan.clone()]),
        ("of unknown age", timeless, vec![vec![], orphan]),
        ("young", young, vec![vec![], vec![]]),
        ("on its way out", instance("i-9", InstanceState::Terminating), vec![vec![], vec![]]),
        ("gone", instance("i-9", InstanceState::Gone), vec![vec![], vec![]]),
    ];
    for (what, instance, expected) in table {
        let mut looks = Looks::default();
        let listed = [instance];
        assert_eq!(look(owner, &[], &listed, &mut looks, 2), expected, "{what}");
    }
}

#[test]
fn an_orphan_is_a_suspect_until_it_is_not_listed_any_more() {
    let owner = owner();
    let mut looks = Looks::default();
    for state in [InstanceState::Running, InstanceState::Running, InstanceState::Terminating] {
        look(owner, &[], &[instance("i-9", state)], &mut looks, 1);
        assert!(looks.suspects(), "{state:?}");
    }
    look(owner, &[], &[], &mut looks, 1);
    assert!(!looks.suspects());
}

#[test]
fn a_launch_that_is_under_way_is_not_looked_for() {
    let owner = owner();
    let record = MachineRecord { instance: None, launched: None, seen: Seen::Requested, ..record(owner) };
    let launching = HashSet::from([record.id]);
    let view = View {
        pool: POOL,
        instances: &[],
        records: &[record],
        owner,
        launching: &launching,
        now: Timestamp::from_millis(NOW),
    };
    let mut looks = Looks::default();
    assert!((0..3).all(|_| compare(&view, &mut looks).is_empty()));
}
