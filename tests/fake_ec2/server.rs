//! The door: HTTP on loopback.

use std::{
    io,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode, header::AUTHORIZATION},
    response::IntoResponse,
};
use tokio_util::sync::CancellationToken;

use super::{
    actions,
    faults::{How, strike},
    wire::{Form, Refusal},
    world::{Event, World},
};

/// The access key of what stands behind the instances. It sees all, nothing fails for it, and no time passes.
const OBSERVER: &str = "AKIABRIDGE";

type Shared = Arc<Mutex<World>>;

/// Serves until it is stopped.
pub(super) fn run(listener: TcpListener, world: Shared, stop: &CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let app = Router::new().fallback(call).with_state(world);
        tokio::select! {
            served = axum::serve(listener, app) => served.unwrap(),
            () = stop.cancelled() => {}
        }
    });
}

async fn call(State(world): State<Shared>, headers: HeaderMap, body: String) -> Response<Body> {
    let form = Form::parse(&body);
    let action = form.get("Action").unwrap_or_default().to_owned();
    let (fault, answer) = {
        let mut world = world.lock().unwrap();
        if key(&headers) == OBSERVER {
            (None, actions::observe(&mut world, &action, &form))
        } else {
            called(&mut world, &headers, &action, &form)
        }
    };
    match fault {
        Some(How::ReplyLost | How::Dropped) => broken(),
        Some(How::Hangs) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            broken()
        }
        Some(How::Garbage) => xml(200, "<<< this is no XML".to_owned()),
        Some(How::Refused(..)) | None => match answer {
            Ok(text) => xml(200, text),
            Err(refusal) => xml(refusal.status, refusal.xml()),
        },
    }
}

/// What a call comes to: how it goes wrong, and the answer if nothing keeps it back.
fn called(
    world: &mut World,
    headers: &HeaderMap,
    action: &str,
    form: &Form,
) -> (Option<How>, Result<String, Refusal>) {
    world.events.push(Event::Called { action: action.to_owned() });
    let fault = strike(&mut world.faults, action);
    let answer = match &fault {
        Some(How::Refused(status, code)) => Err(Refusal {
            status: *status,
            code: (*code).to_owned(),
            message: format!("This {action} was meant to go wrong."),
        }),
        Some(How::Dropped) => Ok(String::new()),
        Some(How::ReplyLost | How::Hangs | How::Garbage) | None
            if world.rules.keys.contains(key(headers)) =>
        {
            actions::answer(world, action, form)
        }
        Some(How::ReplyLost | How::Hangs | How::Garbage) | None => {
            let message = "AWS was not able to validate the provided access credentials";
            Err(Refusal { status: 401, ..Refusal::new("AuthFailure", message) })
        }
    };
    if let Err(refusal) = &answer {
        world.events.push(Event::Refused { action: action.to_owned(), code: refusal.code.clone() });
    }
    (fault, answer)
}

/// The access key of whoever asks.
fn key(headers: &HeaderMap) -> &str {
    let signed = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    signed.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default()
}

fn xml(status: u16, text: String) -> Response<Body> {
    (StatusCode::from_u16(status).unwrap(), [("content-type", "text/xml;charset=UTF-8")], text)
        .into_response()
}

/// An answer that ends the connection before it has said anything.
fn broken() -> Response<Body> {
    let lost = || Err::<Vec<u8>, _>(io::Error::other("meant to go wrong"));
    Body::from_stream(futures_util::stream::once(async move { lost() })).into_response()
}
