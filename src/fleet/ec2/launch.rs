//! A launch order as a call of EC2.

use aws_sdk_ec2::{
    Client,
    operation::run_instances::builders::RunInstancesFluentBuilder,
    types::{
        BlockDeviceMapping, CpuOptionsRequest, EbsBlockDevice, HttpTokensState,
        IamInstanceProfileSpecification, InstanceInterruptionBehavior, InstanceMarketOptionsRequest,
        InstanceMetadataEndpointState, InstanceMetadataOptionsRequest, InstanceMetadataTagsState,
        InstanceNetworkInterfaceSpecification, InstanceType, LaunchTemplateSpecification, MarketType,
        NestedVirtualizationSpecification, Placement, ResourceType, ShutdownBehavior, SpotInstanceType,
        SpotMarketOptions, Tag, TagSpecification,
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::fleet::boot::render;
use crate::{
    config::{Ec2Settings, PoolName},
    fleet::{Class, LaunchOrder, Market, ProviderError},
};

/// The tag with the farm, by which all its instances are found.
pub(super) const FARM: &str = "croft:farm";
/// The tag with the machine.
pub(super) const MACHINE: &str = "croft:machine";
/// The tag with the pool.
const POOL: &str = "croft:pool";
/// The tag with the moment at which it must be gone, for people and for clean-ups that know nothing else.
const EXPIRES: &str = "croft:expires";
/// The most user data that EC2 takes, in bytes.
const MOST_USER_DATA: usize = 16 << 10;

/// The root disk of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootDisk {
    /// Its name, such as `/dev/xvda`.
    pub(super) name: String,
    /// Its size in GiB, if the image has one.
    pub(super) gib: Option<i32>,
}

impl RootDisk {
    /// The disk as it is launched: it ends with its machine, whatever the image says.
    fn mapping(&self, gib: Option<u32>) -> BlockDeviceMapping {
        let wanted = gib.map(|gib| i32::try_from(gib).unwrap_or(i32::MAX));
        let disk = EbsBlockDevice::builder().delete_on_termination(true).set_volume_size(wanted.or(self.gib));
        BlockDeviceMapping::builder().device_name(&self.name).ebs(disk.build()).build()
    }
}

/// What is the same for all machines of a pool.
#[derive(Debug)]
pub(super) struct Template {
    pool: PoolName,
    zones: Vec<String>,
    settings: Ec2Settings,
}

impl Template {
    /// The template of a pool, if its settings can work.
    pub(super) fn new(
        pool: PoolName,
        zones: Vec<String>,
        settings: Ec2Settings,
    ) -> Result<Self, ProviderError> {
        if settings.disk_gib.is_some() && settings.ami.is_none() {
            return Err(ProviderError::new(
                Class::Invalid,
                format!("opening pool {pool}"),
                "disk_gib needs an ami beside it, whose root disk it is; or set the disk in the launch template",
            ));
        }
        Ok(Self { pool, zones, settings })
    }

    /// The settings.
    pub(super) fn settings(&self) -> &Ec2Settings {
        &self.settings
    }

    /// The call that launches a machine. The same order gives the same call, byte by byte, so that it may be repeated.
    /// `root` is the image's root disk, if that is known.
    pub(super) fn request(
        &self,
        client: &Client,
        order: &LaunchOrder,
        root: Option<&RootDisk>,
    ) -> Result<RunInstancesFluentBuilder, ProviderError> {
        let settings = &self.settings;
        let request = client
            .run_instances()
            .client_token(order.machine.to_string())
            .min_count(1)
            .max_count(1)
            .set_image_id(settings.ami.clone())
            .set_launch_template(settings.launch_template.as_deref().map(launch_template))
            .set_instance_type(order.shape.instance_type.as_deref().map(InstanceType::from))
            .set_iam_instance_profile(settings.instance_profile.as_deref().map(profile))
            .set_block_device_mappings(root.map(|root| vec![root.mapping(settings.disk_gib)]))
            .set_instance_market_options(market(order.shape.market))
            .set_cpu_options(settings.nested_virtualization.then(nested_virtualization))
            .metadata_options(metadata())
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .disable_api_termination(false)
            .user_data(self.user_data(order)?)
            .set_tag_specifications(Some(tags(order)));
        Ok(self.placed(request, order))
    }

    fn user_data(&self, order: &LaunchOrder) -> Result<String, ProviderError> {
        let text = render(order, self.settings.setup);
        if text.len() > MOST_USER_DATA {
            return Err(ProviderError::new(
                Class::Invalid,
                format!("launching {} in pool {}", order.name, self.pool),
                format!("its user data is {} bytes, and EC2 takes at most {MOST_USER_DATA}", text.len()),
            ));
        }
        Ok(BASE64_STANDARD.encode(text))
    }

    /// Where the machine stands: a subnet of the zone's, else the zone alone.
    fn placed(&self, request: RunInstancesFluentBuilder, order: &LaunchOrder) -> RunInstancesFluentBuilder {
        let groups = self.settings.security_groups.clone();
        let groups = Some(groups).filter(|groups| !groups.is_empty());
        let zone = order.shape.zone.as_deref();
        let index = zone.map_or(Some(0), |zone| self.zones.iter().position(|own| own == zone));
        match (index.and_then(|index| self.settings.subnets.get(index)), zone) {
            // A public address of its own can only be asked for together with the subnet.
            (Some(subnet), _) if self.settings.public_address => request.network_interfaces(
                InstanceNetworkInterfaceSpecification::builder()
                    .device_index(0)
                    .subnet_id(subnet)
                    .associate_public_ip_address(true)
                    .delete_on_termination(true)
                    .set_groups(groups)
                    .build(),
            ),
            (Some(subnet), _) => request.subnet_id(subnet).set_security_group_ids(groups),
            (None, Some(zone)) => request
                .placement(Placement::builder().availability_zone(zone).build())
                .set_security_group_ids(groups),
            (None, None) => request.set_security_group_ids(groups),
        }
    }
}

fn launch_template(text: &str) -> LaunchTemplateSpecification {
    let template = LaunchTemplateSpecification::builder();
    if text.starts_with("lt-") {
        template.launch_template_id(text).build()
    } else {
        template.launch_template_name(text).build()
    }
}

fn profile(text: &str) -> IamInstanceProfileSpecification {
    let profile = IamInstanceProfileSpecification::builder();
    if text.starts_with("arn:") { profile.arn(text).build() } else { profile.name(text).build() }
}

fn market(market: Market) -> Option<InstanceMarketOptionsRequest> {
    match market {
        Market::OnDemand => None,
        Market::Spot => {
            let spot = SpotMarketOptions::builder()
                .spot_instance_type(SpotInstanceType::OneTime)
                .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
            let options = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot);
            Some(options.spot_options(spot.build()).build())
        }
    }
}

fn nested_virtualization() -> CpuOptionsRequest {
    CpuOptionsRequest::builder().nested_virtualization(NestedVirtualizationSpecification::Enabled).build()
}

/// Only with a token, and only from the machine itself: not through a container or a proxy on it.
fn metadata() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .instance_metadata_tags(InstanceMetadataTagsState::Disabled)
        .build()
}

/// The same tags for all that the call makes, in the call itself: nothing is ever without them.
fn tags(order: &LaunchOrder) -> Vec<TagSpecification> {
    let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
    let tags = vec![
        tag("Name", order.name.clone()),
        tag(FARM, order.farm.to_string()),
        tag(MACHINE, order.machine.to_string()),
        tag(POOL, order.pool.to_string()),
        tag(EXPIRES, order.expires.to_string()),
    ];
    let of = |kind: ResourceType| {
        TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build()
    };
    vec![of(ResourceType::Instance), of(ResourceType::Volume)]
}
