//! That nothing which must stay secret is shown or logged.

use std::{
    io,
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use croft::fleet::MachineProvider;
use tracing::level_filters::LevelFilter;

use crate::{
    fake_ec2::{Fault, How},
    support::{HOST_KEY, SECRET_KEY, fake, spot},
};

/// All that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_logs_nor_words_hold_a_key() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let order = world.order(spot("c7i.large", "eu-central-1a"));
    ec2.fail(Fault::next("RunInstances", How::ReplyLost));
    let error = provider.launch(&order).await.unwrap_err();
    let launched = provider.launch(&order).await.unwrap();
    ec2.fail(Fault::next("DescribeSpotInstanceRequests", How::Refused(403, "UnauthorizedOperation")));
    provider.list().await.unwrap();
    provider.terminate(&launched.id).await.unwrap();
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("whether spot instances are about to be taken back is not known"), "{log}");
    assert!(
        log.contains("aws_smithy_runtime"),
        "the SDK itself logs nothing: does the test see its lines? {log}"
    );
    let shown = format!("{log}\n{provider:?}\n{order:?}\n{error:?}\n{error}");
    let encoded = BASE64_STANDARD.encode(format!("{HOST_KEY}\n"));
    // The same within the base64 of the whole user data.
    let twice = ec2.machine(launched.id.as_str()).user_data;
    for secret in [HOST_KEY, SECRET_KEY, "nobody-may-see", &encoded, &twice[..60]] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}
