//! What types cannot say of machines' settings: names that are there once, ranges, tables that belong together.

use std::collections::BTreeSet;

use super::{BuilderSettings, FleetSettings, PoolSettings, ProviderKind, Transport};

/// The first mistake in the settings of machines, as a sentence.
pub(crate) fn check(
    fleet: &FleetSettings,
    builders: &[BuilderSettings],
    pools: &[PoolSettings],
) -> Result<(), String> {
    fleet_settings(fleet)?;
    let mut names = BTreeSet::from(["local"]);
    for builder in builders {
        builder_settings(builder)?;
        if !names.insert(&builder.name) {
            return Err(format!("two builders are named {:?}; give each its own name", builder.name));
        }
    }
    let mut names = BTreeSet::new();
    for pool in pools {
        pool_settings(pool)?;
        if !names.insert(&pool.name) {
            return Err(format!("two pools are named {}; give each its own name", pool.name));
        }
    }
    Ok(())
}

fn fleet_settings(fleet: &FleetSettings) -> Result<(), String> {
    let interval = fleet.health_interval.get();
    require(interval.as_secs() >= 1, || "fleet.health_interval must be at least 1s".to_owned())?;
    require(fleet.lease.get() >= 3 * interval, || {
        format!(
            "fleet.lease is {}, but must be at least three times fleet.health_interval ({}), or healthy machines power themselves off",
            fleet.lease, fleet.health_interval
        )
    })?;
    require(fleet.quarantine_after >= 1, || "fleet.quarantine_after must be at least 1".to_owned())?;
    require(fleet.min_free_inodes <= 90, || {
        "fleet.min_free_inodes is a percentage of at most 90".to_owned()
    })?;
    require(fleet.launches_per_minute >= 1, || "fleet.launches_per_minute must be at least 1".to_owned())
}

fn builder_settings(builder: &BuilderSettings) -> Result<(), String> {
    let name = &builder.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    require(!name.is_empty() && name.len() <= 60 && name.chars().all(plain), || {
        format!("builder name {name:?}: write up to 60 letters, digits, `-`, `_` and `.`")
    })?;
    let plain_host = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
    require(
        !builder.host.is_empty() && !builder.host.starts_with('-') && builder.host.chars().all(plain_host),
        || format!("builder {name}: {:?} is no host name or IP address", builder.host),
    )?;
    require(!builder.user.is_empty() && !builder.user.starts_with('-'), || {
        format!("builder {name}: {:?} is no user name", builder.user)
    })?;
    require(!builder.systems.is_empty(), || {
        format!("builder {name} has no systems; say what it builds for, such as systems = [\"x86_64-linux\"]")
    })?;
    require(builder.slots >= 1, || format!("builder {name}: slots must be at least 1"))?;
    require(builder.speed > 0.0 && builder.speed.is_finite(), || {
        format!("builder {name}: speed must be more than 0")
    })?;
    match builder.transport {
        Transport::Command => Ok(()),
        Transport::Native => require(builder.key.is_some(), || {
            format!(
                "builder {name} has no key; name the file of a private key, or set transport = \"command\""
            )
        }),
    }
}

fn pool_settings(pool: &PoolSettings) -> Result<(), String> {
    let name = &pool.name;
    require(!pool.systems.is_empty(), || {
        format!("pool {name} has no systems; say what it builds for, such as systems = [\"x86_64-linux\"]")
    })?;
    require(pool.slots >= 1, || format!("pool {name}: slots must be at least 1"))?;
    require(pool.max >= 1, || format!("pool {name}: max must be at least 1"))?;
    require(pool.min <= pool.max, || {
        format!("pool {name}: min is {}, more than max ({})", pool.min, pool.max)
    })?;
    require(pool.warm <= pool.max, || {
        format!("pool {name}: warm is {}, more than max ({})", pool.warm, pool.max)
    })?;
    require(pool.spot <= 100, || format!("pool {name}: spot is a percentage, at most 100"))?;
    require(pool.speed > 0.0 && pool.speed.is_finite(), || {
        format!("pool {name}: speed must be more than 0")
    })?;
    for (key, money) in
        [("price", pool.price), ("budget_day", pool.budget_day), ("budget_month", pool.budget_month)]
    {
        require(money.is_none_or(|money| money >= 0.0 && money.is_finite()), || {
            format!("pool {name}: {key} must not be negative")
        })?;
    }
    tables(pool)
}

/// Only the table of the pool's own provider may be there, and some providers need theirs.
fn tables(pool: &PoolSettings) -> Result<(), String> {
    let there = [
        (ProviderKind::Ec2, pool.ec2.is_some()),
        (ProviderKind::Qemu, pool.qemu.is_some()),
        (ProviderKind::Exec, pool.exec.is_some()),
        (ProviderKind::Fake, pool.fake.is_some()),
    ];
    for (kind, is_there) in there {
        require(!is_there || kind == pool.provider, || {
            format!("pool {}: [pool.{kind}] is set, but its provider is {}", pool.name, pool.provider)
        })?;
    }
    match (pool.provider, &pool.ec2, &pool.exec) {
        (ProviderKind::Ec2, None, _) => Err(format!("pool {}: the provider ec2 needs [pool.ec2]", pool.name)),
        (ProviderKind::Ec2, Some(ec2), _) => {
            require(ec2.ami.is_some() || ec2.launch_template.is_some(), || {
                format!("pool {}: [pool.ec2] needs an ami or a launch_template", pool.name)
            })?;
            require(!pool.types.is_empty() || ec2.launch_template.is_some(), || {
                format!("pool {}: name at least one instance type in types", pool.name)
            })?;
            require(ec2.subnets.is_empty() || ec2.subnets.len() == pool.zones.len().max(1), || {
                format!(
                    "pool {}: [pool.ec2] has {} subnets for {} zones; name one for each",
                    pool.name,
                    ec2.subnets.len(),
                    pool.zones.len()
                )
            })
        }
        (ProviderKind::Exec, _, exec) => {
            require(exec.as_ref().is_some_and(|e| !e.command.is_empty()), || {
                format!("pool {}: the provider exec needs [pool.exec] with a command", pool.name)
            })
        }
        (ProviderKind::Qemu | ProviderKind::Fake, _, _) => Ok(()),
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn mistake(toml: &str) -> String {
        let settings: Settings = toml::from_str(toml).unwrap();
        check(&settings.fleet, &settings.builder, &settings.pool).expect_err("a mistake")
    }

    #[test]
    fn a_builder_must_say_how_it_is_entered() {
        let builder =
            "[[builder]]\nname = \"big\"\nhost = \"big.example.org\"\nsystems = [\"x86_64-linux\"]\n";
        assert!(mistake(builder).contains("name the file of a private key"));
        assert!(mistake(&builder.replace("big.example.org", "-oProxyCommand=x")).contains("no host name"));
    }

    #[test]
    fn a_pool_names_its_mistake() {
        let pool = |more: &str| {
            format!(
                "[[pool]]\nname = \"p\"\nprovider = \"qemu\"\nsystems = [\"x86_64-linux\"]\nmax = 2\n{more}"
            )
        };
        assert_eq!(mistake(&pool("min = 3\n")), "pool p: min is 3, more than max (2)");
        assert!(mistake(&pool("[pool.exec]\ncommand = [\"x\"]\n")).contains("its provider is qemu"));
        let ec2 = pool("").replace("qemu", "ec2");
        assert!(mistake(&ec2).contains("needs [pool.ec2]"));
        assert!(
            mistake(&format!("{ec2}[pool.ec2]\nregion = \"x\"\n")).contains("an ami or a launch_template")
        );
    }
}
