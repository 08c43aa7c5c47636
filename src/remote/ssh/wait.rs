//! The first word of a machine, which may be starting.

use std::{io, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};

use super::error::SshError;

/// How long to wait between tries that have failed.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a try may say nothing until another is begun beside it,
const BESIDE: Duration = Duration::from_millis(700);
/// and how long most of them are kept.
const KEEP: Duration = Duration::from_secs(5);
/// Of so many tries one is kept to the end, for a machine that is merely slow.
const PATIENT: u32 = 8;

/// What an sshd begins with.
const HELLO: &[u8; 4] = b"SSH-";

/// Waits until an sshd at `host` says hello, at most for `patience`.
///
/// A port that accepts a connection is not a machine that is up: a hypervisor or a load balancer may accept for it.
pub async fn wait_for_ssh(host: &str, port: u16, patience: Duration) -> Result<(), SshError> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(Ok(_)) = greeted(host, port, left).await {
            return Ok(());
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(SshError::Silent {
                target: format!("{host}:{port}"),
                doing: "starting up: no ssh greeting came",
                seconds: patience.as_secs(),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A connection on which an sshd has said hello; nothing of that is read yet. None if all is silent for `patience`; the
/// first error ends it.
///
/// Whoever accepts for a machine that starts may ask there ever more rarely, so that a connection made a moment too
/// soon is heard of many seconds after the machine is up. So while one says nothing others are begun beside it.
pub(super) async fn greeted(host: &str, port: u16, patience: Duration) -> Option<io::Result<TcpStream>> {
    let end = Instant::now() + patience;
    let mut tries = FuturesUnordered::new();
    let mut begun = 0_u32;
    loop {
        let keep = if begun.is_multiple_of(PATIENT) { end } else { end.min(Instant::now() + KEEP) };
        tries.push(timeout_at(keep, hello(host, port)));
        begun = begun.wrapping_add(1);
        let next = end.min(Instant::now() + BESIDE);
        loop {
            tokio::select! {
                Some(tried) = tries.next() => if let Ok(greeted) = tried { return Some(greeted) },
                () = sleep_until(next) => break,
            }
        }
        if next >= end {
            return None;
        }
    }
}

async fn hello(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    let mut start = [0; HELLO.len()];
    loop {
        match stream.peek(&mut start).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count if start[..count] != HELLO[..count] => return Err(io::ErrorKind::InvalidData.into()),
            count if count == HELLO.len() => return Ok(stream),
            // A part of the word: the rest comes at once, but looking again does not wait for it.
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_connection_that_nobody_answers_does_not_hide_the_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let machine = async {
            // The first two are accepted by somebody else, as it were, and stay silent.
            let silent = [listener.accept().await.unwrap(), listener.accept().await.unwrap()];
            let (mut third, _) = listener.accept().await.unwrap();
            third.write_all(b"SS").await.unwrap();
            third.write_all(b"H-2.0-test\r\n").await.unwrap();
            (silent, third)
        };
        let (greeted, (_silent, third)) = tokio::join!(greeted("127.0.0.1", port, LONG), machine);
        let greeted = greeted.unwrap().unwrap();
        assert_eq!(greeted.local_addr().unwrap(), third.peer_addr().unwrap());
        let mut word = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut { greeted }, &mut word).await.unwrap();
        assert_eq!(&word, HELLO, "the hello is still to be read");
    }

    #[tokio::test]
    async fn another_word_a_closed_port_and_silence_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = async { listener.accept().await.unwrap().0.write_all(b"HTTP/1.1").await.unwrap() };
        let (heard, ()) = tokio::join!(greeted("127.0.0.1", port, LONG), other);
        assert_eq!(heard.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let closing = async { drop(listener.accept().await.unwrap()) };
        let (heard, ()) = tokio::join!(greeted("127.0.0.1", port, LONG), closing);
        assert_eq!(heard.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(greeted("127.0.0.1", port, Duration::from_millis(50)).await.is_none());
        drop(listener);
        let refused = greeted("127.0.0.1", port, LONG).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
