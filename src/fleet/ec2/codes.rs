//! The one table from EC2's error codes to what they mean for the farm.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use crate::{
    fleet::{Class, ProviderError},
    report::{Colours, terminal_line},
};

/// The longest message, in characters.
const LONGEST: usize = 300;

/// Codes that mean one thing alone.
const CODES: &[(Class, &[&str])] = &[
    (
        Class::Retry,
        &[
            "EC2ThrottledException",
            "IncorrectInstanceState",
            "IncorrectState",
            "InternalError",
            "InternalFailure",
            "InvalidState",
            "RequestExpired",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestTimeout",
            "ServerInternal",
            "ServiceUnavailable",
            "Throttling",
            "ThrottlingException",
            "Unavailable",
        ],
    ),
    (
        Class::Capacity,
        &[
            "InstanceTypeNotSupported",
            "InsufficientAddressCapacity",
            "InsufficientCapacity",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientHostCapacity",
            "InsufficientInstanceCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientVolumeCapacity",
            "SpotMaxPriceTooLow",
            "UnfulfillableCapacity",
            // This type is not sold in this zone.
            "Unsupported",
        ],
    ),
    (
        Class::Quota,
        &[
            "AddressLimitExceeded",
            "InstanceLimitExceeded",
            "MaxFleetCountExceeded",
            "MaxIOPSLimitExceeded",
            "MaxSpotFleetRequestCountExceeded",
            "MaxSpotInstanceCountExceeded",
            "NetworkInterfaceLimitExceeded",
            "PrivateIpAddressLimitExceeded",
            "ResourceCountExceeded",
            "ResourceLimitExceeded",
            "VcpuLimitExceeded",
            "VolumeLimitExceeded",
        ],
    ),
    (
        Class::Credentials,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "Blocked",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSecurity",
            "MissingAuthenticationToken",
            "NotAuthorized",
            "OptInRequired",
            "PendingVerification",
            "SignatureDoesNotMatch",
            "UnauthorizedOperation",
            "UnrecognizedClientException",
        ],
    ),
    (Class::Gone, &["InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound"]),
    (
        Class::Invalid,
        &[
            "DefaultVpcDoesNotExist",
            "IdempotentParameterMismatch",
            "InvalidAvailabilityZone",
            "InvalidBlockDeviceMapping",
            "InvalidInput",
            "InvalidInterface.IpAddressLimitExceeded",
            "InvalidUserData.Malformed",
            "MissingInput",
            "MissingParameter",
            "OperationNotPermitted",
            "UnknownParameter",
            "UnsupportedInstanceAttribute",
            "UnsupportedOperation",
            "VPCIdNotSpecified",
        ],
    ),
];

/// Beginnings of the codes that say that a thing which the order names is wrong.
const INVALID: &[&str] = &[
    "InvalidAMIID.",
    "InvalidGroup.",
    "InvalidIamInstanceProfile",
    "InvalidKeyPair.",
    "InvalidLaunchTemplate",
    "InvalidParameter",
    "InvalidSecurityGroup",
    "InvalidSnapshot.",
    "InvalidSubnet",
    "InvalidTag",
    "InvalidVpcID",
    "InvalidZone",
];

/// What a code means. One that is not known here says nothing of what happened.
pub(super) fn class(code: &str) -> Class {
    let exact = CODES.iter().find(|(_, codes)| codes.contains(&code)).map(|(class, _)| *class);
    let family = || INVALID.iter().any(|beginning| code.starts_with(beginning)).then_some(Class::Invalid);
    exact.or_else(family).unwrap_or(Class::Retry)
}

/// A call that did not go through, with EC2's own words.
pub(super) fn refused<E>(doing: impl Into<String>, error: &SdkError<E>) -> ProviderError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let doing = doing.into();
    let unanswered = |message: &str| ProviderError::new(Class::Retry, doing.clone(), message);
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().map_or_else(|| format!("HTTP {status}"), str::to_owned);
            let class = class(&code);
            let message = answer.err().message().unwrap_or("no message");
            ProviderError::new(class, doing, words(&format!("{code}: {message}{}", next_step(class))))
        }
        SdkError::TimeoutError(_) => unanswered("EC2 has not answered in time"),
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            unanswered(&words(&format!("EC2 has answered nonsense (HTTP {status}): {}", chain(error))))
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unanswered("EC2 cannot be reached in time")
        }
        error => {
            if lacks_credentials(error) {
                let message = "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine a role";
                return ProviderError::new(Class::Credentials, doing, message);
            }
            unanswered(&words(&format!("EC2 cannot be reached: {}", chain(error))))
        }
    }
}

/// What a person can do about it.
fn next_step(class: Class) -> &'static str {
    match class {
        Class::Credentials => "; compare the credentials and their policy with docs/ec2.md",
        Class::Quota => "; wait for a machine to end, or ask Amazon for a higher quota",
        Class::Invalid => "; correct [pool.ec2]",
        Class::Retry | Class::Capacity | Class::Gone => "",
    }
}

/// Whether the call could not be signed.
fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<CredentialsError>)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
}

/// What lies under an error, in a row.
fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Words of EC2's made harmless and short.
pub(super) fn words(text: &str) -> String {
    terminal_line(text.as_bytes(), Colours::Drop, LONGEST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_its_class() {
        let expected = [
            ("RequestLimitExceeded", Class::Retry),
            ("InternalError", Class::Retry),
            ("Unavailable", Class::Retry),
            ("IncorrectInstanceState", Class::Retry),
            ("InsufficientInstanceCapacity", Class::Capacity),
            ("InsufficientFreeAddressesInSubnet", Class::Capacity),
            ("SpotMaxPriceTooLow", Class::Capacity),
            ("Unsupported", Class::Capacity),
            ("MaxSpotInstanceCountExceeded", Class::Quota),
            ("VcpuLimitExceeded", Class::Quota),
            ("InstanceLimitExceeded", Class::Quota),
            ("UnauthorizedOperation", Class::Credentials),
            ("AuthFailure", Class::Credentials),
            ("ExpiredToken", Class::Credentials),
            ("InvalidInstanceID.NotFound", Class::Gone),
            ("InvalidInstanceID.Malformed", Class::Gone),
            ("InvalidAMIID.NotFound", Class::Invalid),
            ("InvalidAMIID.Unavailable", Class::Invalid),
            ("InvalidSubnetID.NotFound", Class::Invalid),
            ("InvalidSubnet.Range", Class::Invalid),
            ("InvalidParameterValue", Class::Invalid),
            ("InvalidLaunchTemplateName.NotFoundException", Class::Invalid),
            ("UnsupportedOperation", Class::Invalid),
            ("IdempotentParameterMismatch", Class::Invalid),
            ("HTTP 503", Class::Retry),
            ("SomethingThatAmazonInventsTomorrow", Class::Retry),
            ("", Class::Retry),
        ];
        for (code, wanted) in expected {
            assert_eq!(class(code), wanted, "{code}");
        }
    }

    #[test]
    fn no_code_is_in_the_table_twice_and_no_family_hides_one() {
        let codes = || CODES.iter().flat_map(|(class, codes)| codes.iter().map(move |code| (*class, *code)));
        let distinct: BTreeSet<_> = codes().map(|(_, code)| code).collect();
        assert_eq!(distinct.len(), codes().count());
        for (class, code) in codes().filter(|(class, _)| *class != Class::Invalid) {
            let family = INVALID.iter().find(|beginning| code.starts_with(**beginning));
            assert!(family.is_none(), "{code} is {class:?} and in {family:?}");
        }
    }

    #[test]
    fn words_are_short_and_without_escapes() {
        let shown = words(&format!("a\u{1b}[31mb\u{7}\u{202e}{}", "x".repeat(5000)));
        assert!(shown.starts_with("ab") && shown.chars().count() <= LONGEST + 1, "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    }
}
