//! Machines from a program of the user's: one call of it for each verb, one JSON document in, one out. The protocol
//! is described in `docs/write-a-provider.md`.

mod document;

use std::{io, sync::Arc};

use self::document::{Answered, Question};
use super::{
    Answer, Class, Dormancy, Instance, InstanceId, LaunchOrder, MachineProvider, ProviderError,
    child::{self, Call, End},
    text::harmless,
};
use crate::{config::ExecSettings, ids::FarmId};

/// The most that a program may answer, in bytes.
const MOST: usize = 4 << 20;
/// How much of its standard error is kept.
const KEPT: usize = 4096;
/// The most that is told of a console, in bytes.
const CONSOLE: usize = 64 * 1024;

/// Launches machines by calling a program.
#[derive(Debug, Clone)]
pub struct ExecProvider {
    settings: Arc<ExecSettings>,
    farm: FarmId,
}

impl ExecProvider {
    /// A provider for the machines of `farm`.
    pub fn new(settings: ExecSettings, farm: FarmId) -> Self {
        Self { settings: Arc::new(settings), farm }
    }

    async fn ask(&self, question: &Question<'_>, doing: &str) -> Result<Answered, ProviderError> {
        let error = |class, message: String| ProviderError::new(class, doing, message);
        let input = serde_json::to_vec(question).map_err(|e| error(Class::Invalid, e.to_string()))?;
        let program = self.settings.command.first().cloned().unwrap_or_default();
        let call = Call {
            words: &self.settings.command,
            verb: question.verb,
            input: &input,
            timeout: self.settings.timeout.get(),
            most: MOST,
            kept: KEPT,
        };
        let done = child::run(&call).await.map_err(|e| {
            let class = match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Class::Invalid,
                _ => Class::Retry,
            };
            let message = format!("the program {program} cannot be run ({e}); check pool.exec.command");
            error(class, message).because(e)
        })?;
        let said = harmless(&done.stderr);
        let said = if said.is_empty() { "it said nothing".to_owned() } else { format!("it said: {said}") };
        let code = match done.end {
            End::Exited(code) => code,
            End::Signalled => return Err(error(Class::Retry, format!("{program} was killed; {said}"))),
            End::Late => {
                let limit = self.settings.timeout;
                let message =
                    format!("{program} took longer than pool.exec.timeout ({limit}) and was killed; {said}");
                return Err(error(Class::Retry, message));
            }
            End::TooMuch => {
                let message = format!("{program} wrote more than {} MiB and was killed; {said}", MOST >> 20);
                return Err(error(Class::Invalid, message));
            }
        };
        match document::read(&done.stdout) {
            Ok(Answered { error: Some(refused), .. }) => {
                Err(error(refused.class.into(), harmless(refused.message.as_bytes())))
            }
            Ok(answered) if code == 0 => Ok(answered),
            Ok(_) => Err(error(Class::Retry, format!("{program} has ended with code {code}; {said}"))),
            Err(_) if code != 0 => {
                Err(error(Class::Retry, format!("{program} has ended with code {code}; {said}")))
            }
            Err(wrong) => {
                let message =
                    format!("{program} did not answer as docs/write-a-provider.md says ({wrong}); {said}");
                Err(error(Class::Invalid, message))
            }
        }
    }

    /// A verb about one instance.
    async fn about(&self, verb: &'static str, id: &InstanceId) -> Result<Answered, ProviderError> {
        let doing = format!("{verb} of {id}");
        self.ask(&Question::about(self.farm, verb, id), &doing).await
    }
}

/// What must be in an answer.
fn needed<T>(part: Option<T>, name: &str, doing: &str) -> Result<T, ProviderError> {
    part.ok_or_else(|| {
        let message = format!("the answer has no {name:?}; see docs/write-a-provider.md");
        ProviderError::new(Class::Invalid, doing, message)
    })
}

impl MachineProvider for ExecProvider {
    fn launch<'a>(&'a self, order: &'a LaunchOrder) -> Answer<'a, Instance> {
        Box::pin(async move {
            let doing = format!("launch of {}", order.name);
            let answered = self.ask(&Question::launch(order), &doing).await?;
            let instance = needed(answered.instance, "instance", &doing)?;
            if instance.machine == Some(order.machine) {
                return Ok(instance);
            }
            let message = format!("the answer is about another machine than {}", order.machine);
            Err(ProviderError::new(Class::Invalid, doing, message))
        })
    }

    fn terminate<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(async move {
            match self.about("terminate", instance).await {
                Err(error) if error.class == Class::Gone => Ok(()),
                answered => answered.map(|_| ()),
            }
        })
    }

    fn get<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Instance> {
        Box::pin(async move {
            let answered = self.about("get", instance).await?;
            needed(answered.instance, "instance", &format!("get of {instance}"))
        })
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        Box::pin(async move {
            let answered = self.ask(&Question::list(self.farm), "list").await?;
            needed(answered.instances, "instances", "list")
        })
    }

    fn console<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let answered = self.about("console", instance).await?;
            let mut text = answered.console.unwrap_or_default().into_bytes();
            Ok(text.split_off(text.len().saturating_sub(CONSOLE)))
        })
    }

    fn dormancy(&self) -> Option<&dyn Dormancy> {
        Some(self)
    }
}

impl Dormancy for ExecProvider {
    fn stop<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(async move { self.about("stop", instance).await.map(|_| ()) })
    }

    fn start<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(async move { self.about("start", instance).await.map(|_| ()) })
    }
}
