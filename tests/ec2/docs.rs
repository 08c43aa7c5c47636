//! That `docs/ec2.md` is true: its configuration is one, and its policy allows what croft calls and nothing else.

use std::{collections::BTreeSet, fs};

use croft::{
    config::{Config, Environment, ProviderKind},
    fleet::{InstanceState, MachineProvider},
};
use serde_json::Value;

use crate::{
    fake_ec2::Event,
    support::{fake, spot, until, usual},
};

/// The first block of a language.
fn block(language: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ec2.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

#[test]
fn the_configuration_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("croft.toml");
    fs::write(&file, block("toml")).unwrap();
    let state = dir.path().display().to_string();
    let environment = Environment::from_iter([("CROFT_STATE_DIR", state.as_str())]);
    let config = Config::load(dir.path(), Some(&file), &environment).unwrap();
    let pool = &config.settings.pool[0];
    assert_eq!(pool.provider, ProviderKind::Ec2);
    assert_eq!(pool.ec2.as_ref().unwrap().subnets.len(), pool.zones.len());
}

#[tokio::test]
async fn the_policy_allows_what_is_called_and_nothing_else() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let machine = provider.launch(&world.order(usual())).await.unwrap();
    provider.launch(&world.order(spot("c7i.large", "eu-central-1a"))).await.unwrap();
    until(&provider, &machine, InstanceState::Running).await;
    provider.list().await.unwrap();
    provider.console(&machine.id).await.unwrap();
    let dormancy = provider.dormancy().unwrap();
    dormancy.stop(&machine.id).await.unwrap();
    until(&provider, &machine, InstanceState::Stopped).await;
    dormancy.start(&machine.id).await.unwrap();
    provider.terminate(&machine.id).await.unwrap();
    let called = |event: &Event| match event {
        Event::Called { action } => Some(format!("ec2:{action}")),
        Event::Launched { .. }
        | Event::Repeated { .. }
        | Event::Terminated { .. }
        | Event::Refused { .. } => None,
    };
    let mut called: BTreeSet<String> = ec2.world().events.iter().filter_map(called).collect();
    // No call of its own: a launch with tags needs it.
    called.insert("ec2:CreateTags".to_owned());

    let policy: Value = serde_json::from_str(&block("json")).unwrap();
    let actions = |statement: &Value| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        action => vec![action.clone()],
    };
    let statements = policy["Statement"].as_array().unwrap();
    let allowed: BTreeSet<String> =
        statements.iter().flat_map(actions).map(|action| action.as_str().unwrap().to_owned()).collect();
    assert_eq!(allowed, called);
}
