//! The metadata service, version 2: who asks is known by the address.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{Net, Shared};

/// The only token.
const TOKEN: &str = "dG9rZW4=";

/// The running service.
pub(super) struct Imds {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Imds {
    /// Ends it.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        // One that has panicked has printed why.
        self.thread.join().ok();
    }
}

/// Serves on the address where machines look for it.
pub(super) fn serve(net: &Net, shared: Arc<Mutex<Shared>>) -> Imds {
    let listener = net.listen_on("169.254.169.254:80");
    listener.set_nonblocking(true).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, peer)) => {
                        // A machine that breaks off has no answer to get.
                        answer(stream, &peer.ip().to_string(), &shared).ok();
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        }
    });
    Imds { stop, thread }
}

fn answer(stream: TcpStream, peer: &str, shared: &Mutex<Shared>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new((&stream).take(16 << 10));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = String::new();
    while reader.read_line(&mut headers)? > 2 {}
    let headers = headers.to_lowercase();
    let mut words = first.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let has_token = headers.contains(&format!("x-aws-ec2-metadata-token: {}", TOKEN.to_lowercase()));
    let (status, body) = match (method, path) {
        ("PUT", "/latest/api/token") if headers.contains("x-aws-ec2-metadata-token-ttl-seconds:") => {
            ("200 OK", TOKEN.as_bytes().to_vec())
        }
        ("PUT", _) => ("400 Bad Request", Vec::new()),
        _ if !has_token => ("401 Unauthorized", Vec::new()),
        ("GET", path) => match about(path, peer, &shared.lock().unwrap()) {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", Vec::new()),
        },
        _ => ("405 Method Not Allowed", Vec::new()),
    };
    let head = format!("HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    (&stream).write_all(&[head.as_bytes(), &body].concat())
}

fn about(path: &str, peer: &str, shared: &Shared) -> Option<Vec<u8>> {
    let (id, guest) = shared.guests.iter().find(|(_, guest)| guest.address == peer)?;
    match path {
        "/latest/user-data" => Some(guest.user_data.clone()),
        "/latest/meta-data/instance-id" => Some(id.clone().into_bytes()),
        "/latest/meta-data/local-ipv4" => Some(guest.address.clone().into_bytes()),
        "/latest/meta-data/spot/instance-action" if shared.notices.contains(id) => {
            Some(b"{\"action\":\"terminate\",\"time\":\"2030-01-01T00:00:00Z\"}".to_vec())
        }
        _ => None,
    }
}
