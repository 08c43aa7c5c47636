//! The provider: each verb as calls of EC2.

use std::{collections::BTreeMap, fmt, sync::Once};

use aws_sdk_ec2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{Filter, Instance as Described, Reservation},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::sync::OnceCell;

use super::{
    access::{self, Caller, Patience},
    codes::refused,
    launch::{FARM, MACHINE, RootDisk, Template},
    seen::{self, Seen},
};
use crate::{
    config::PoolSettings,
    fleet::{
        Answer, Class, Dormancy, Instance, InstanceId, InstanceState, LaunchOrder, MachineProvider,
        ProviderError,
    },
    ids::FarmId,
};

/// The most of a console that is kept, in bytes.
const MOST_CONSOLE: usize = 64 << 10;
/// Instances of one page. EC2 may give fewer.
const PAGE: i32 = 200;
/// The most pages of one list.
const MOST_PAGES: usize = 500;
/// The most values of one filter.
const MOST_VALUES: usize = 200;
/// The states of what is not gone.
const THERE: [&str; 5] = ["pending", "running", "stopping", "stopped", "shutting-down"];

/// Machines of one pool on EC2.
pub struct Ec2 {
    client: Client,
    farm: FarmId,
    template: Template,
    /// The image's root disk.
    root: OnceCell<RootDisk>,
    /// Whether it has been said that spot interruptions are not to be learnt.
    warned: Once,
}

impl fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ec2")
            .field("farm", &self.farm)
            .field("template", &self.template)
            .finish_non_exhaustive()
    }
}

impl Ec2 {
    /// The provider of `pool` for a farm. Calls nothing but what is needed to find out who asks.
    ///
    /// # Errors
    /// [`Class::Invalid`] if the pool's settings cannot work.
    pub async fn open(
        farm: FarmId,
        pool: &PoolSettings,
        caller: Caller,
        patience: Patience,
    ) -> Result<Self, ProviderError> {
        let settings = pool.ec2.clone().unwrap_or_default();
        let client = access::client(&settings, caller, patience).await?;
        let template = Template::new(pool.name.clone(), pool.zones.clone(), settings)?;
        Ok(Self { client, farm, template, root: OnceCell::new(), warned: Once::new() })
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Instance, ProviderError> {
        let doing = || format!("launching {} as {}", order.name, order.shape);
        let root = self.root_disk().await?;
        let request = self.template.request(&self.client, order, root)?;
        match request.send().await {
            Ok(reply) => {
                let seen = reply.instances().first().and_then(|seen| self.seen(seen));
                let seen =
                    seen.ok_or_else(|| nonsense(&doing(), "it has launched something and not said what"));
                seen.map(|seen| seen.instance)
            }
            Err(error) if error.code() == Some("IdempotentParameterMismatch") => {
                self.find(order, doing()).await
            }
            Err(error) => Err(refused(doing(), &error)),
        }
    }

    /// The instance that an earlier call has launched with other parameters, such as another shape.
    async fn find(&self, order: &LaunchOrder, doing: String) -> Result<Instance, ProviderError> {
        let filters =
            vec![self.farm_filter(), filter(&format!("tag:{MACHINE}"), [order.machine.to_string()])];
        let found = self.describe(filters, &doing).await?;
        // One for each token, but a token may be free again after its instance is gone.
        let found = found.into_iter().map(|found| found.instance);
        found.min_by_key(|instance| instance.state == InstanceState::Gone).ok_or_else(|| {
            let message = "an earlier call has launched it with other parameters, and it is not visible yet";
            ProviderError::new(Class::Retry, doing, message)
        })
    }

    /// The root disk of the pool's image; none if the image is the launch template's.
    async fn root_disk(&self) -> Result<Option<&RootDisk>, ProviderError> {
        let Some(ami) = &self.template.settings().ami else { return Ok(None) };
        let ask = || async {
            let doing = || format!("looking up the image {ami}");
            let reply = self.client.describe_images().image_ids(ami).send().await;
            let reply = reply.map_err(|error| refused(doing(), &error))?;
            reply.images().first().and_then(seen::root_disk).ok_or_else(|| {
                let message =
                    "there is no such image with a root disk in this region; correct ami in [pool.ec2]";
                ProviderError::new(Class::Invalid, doing(), message)
            })
        };
        self.root.get_or_try_init(ask).await.map(Some)
    }

    fn farm_filter(&self) -> Filter {
        filter(&format!("tag:{FARM}"), [self.farm.to_string()])
    }

    fn seen(&self, seen: &Described) -> Option<Seen> {
        seen::instance(seen, self.template.settings().public_address)
    }

    /// All instances that pass the filters, from all pages.
    async fn describe(&self, filters: Vec<Filter>, doing: &str) -> Result<Vec<Seen>, ProviderError> {
        let call = self.client.describe_instances().set_filters(Some(filters));
        let mut pages = call.into_paginator().page_size(PAGE).send();
        let mut found = Vec::new();
        let mut read = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| refused(doing, &error))?;
            for seen in page.reservations().iter().flat_map(Reservation::instances) {
                found.push(self.seen(seen).ok_or_else(|| nonsense(doing, "an instance cannot be read"))?);
            }
            read += 1;
            if read > MOST_PAGES {
                return Err(nonsense(doing, "the list does not end"));
            }
        }
        Ok(found)
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        let filters = vec![self.farm_filter(), filter("instance-state-name", THERE)];
        let mut found =
            self.describe(filters, &format!("listing the instances of farm {}", self.farm)).await?;
        // What has ended between two pages may be shown all the same.
        found.retain(|seen| seen.instance.state != InstanceState::Gone);
        Ok(self.with_notices(found).await)
    }

    async fn get(&self, id: &InstanceId) -> Result<Instance, ProviderError> {
        let doing = || format!("asking for {id}");
        let gone = || ProviderError::new(Class::Gone, doing(), "EC2 knows of no such instance");
        let reply = self.client.describe_instances().instance_ids(id.as_str()).send().await;
        let reply = reply.map_err(|error| refused(doing(), &error))?;
        let seen = reply.reservations().iter().flat_map(Reservation::instances).next();
        let seen = self.seen(seen.ok_or_else(gone)?);
        let seen = seen.ok_or_else(|| nonsense(&doing(), "the instance cannot be read"))?;
        self.with_notices(vec![seen]).await.pop().ok_or_else(gone)
    }

    /// The instances, with a mark on those that EC2 will take back within minutes. The mark is a hint: that it is not
    /// to be had takes nothing from the list.
    async fn with_notices(&self, found: Vec<Seen>) -> Vec<Instance> {
        let requests: Vec<_> = found.iter().filter_map(|seen| seen.spot_request.clone()).collect();
        let mut notices = BTreeMap::new();
        for requests in requests.chunks(MOST_VALUES) {
            let call = self.client.describe_spot_instance_requests();
            let call = call.filters(filter("spot-instance-request-id", requests.iter().cloned()));
            match call.send().await {
                Ok(reply) => notices.extend(reply.spot_instance_requests().iter().filter_map(seen::notice)),
                Err(error) => {
                    let error = refused("asking for spot interruptions", &error);
                    self.warned.call_once(|| {
                        tracing::warn!(%error, "whether spot instances are about to be taken back is not known");
                    });
                }
            }
        }
        let marked = |seen: Seen| match notices.remove(&seen.instance.id) {
            Some(why) => Instance { interrupted: true, why: Some(why), ..seen.instance },
            None => seen.instance,
        };
        found.into_iter().map(marked).collect()
    }

    async fn terminate(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let call = self.client.terminate_instances().instance_ids(id.as_str());
        match call.send().await.map_err(|error| refused(format!("terminating {id}"), &error)) {
            Err(error) if error.class != Class::Gone => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn console(&self, id: &InstanceId) -> Result<Vec<u8>, ProviderError> {
        let doing = || format!("reading the console of {id}");
        let call = || self.client.get_console_output().instance_id(id.as_str());
        // Not all types can show the latest output.
        let reply = match call().latest(true).send().await {
            Err(error) if error.code() == Some("UnsupportedOperation") => call().send().await,
            reply => reply,
        };
        let reply = reply.map_err(|error| refused(doing(), &error))?;
        let mut text = BASE64_STANDARD
            .decode(reply.output().unwrap_or_default().trim())
            .map_err(|_| nonsense(&doing(), "its console is not base64"))?;
        text.drain(..text.len().saturating_sub(MOST_CONSOLE));
        Ok(text)
    }

    async fn stop(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let call = self.client.stop_instances().instance_ids(id.as_str());
        done(call.send().await, format!("stopping {id}"))
    }

    async fn start(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let call = self.client.start_instances().instance_ids(id.as_str());
        done(call.send().await, format!("starting {id}"))
    }
}

impl MachineProvider for Ec2 {
    fn launch<'a>(&'a self, order: &'a LaunchOrder) -> Answer<'a, Instance> {
        Box::pin(self.launch(order))
    }

    fn terminate<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(self.terminate(instance))
    }

    fn get<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Instance> {
        Box::pin(self.get(instance))
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        Box::pin(self.list())
    }

    fn console<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Vec<u8>> {
        Box::pin(self.console(instance))
    }

    fn dormancy(&self) -> Option<&dyn Dormancy> {
        Some(self)
    }
}

impl Dormancy for Ec2 {
    fn stop<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(self.stop(instance))
    }

    fn start<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(self.start(instance))
    }
}

fn done<T, E>(reply: Result<T, SdkError<E>>, doing: String) -> Result<(), ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    reply.map(drop).map_err(|error| refused(doing, &error))
}

fn nonsense(doing: &str, what: &str) -> ProviderError {
    ProviderError::new(Class::Retry, doing, format!("EC2 has answered nonsense: {what}"))
}

fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    let values = values.into_iter().map(Into::into).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}
