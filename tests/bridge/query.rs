//! The few calls of EC2 that the bridge needs, spoken by hand: a program that has a bridge need not link the SDK.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use quick_xml::{Reader, events::Event};

/// The bridge's own access key. A fake EC2 knows it, and lets no time pass when it looks.
const KEY: &str = "AKIABRIDGE";

/// An instance as the bridge sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) address: String,
    /// Pending or running.
    pub(super) is_up: bool,
    pub(super) is_gone: bool,
}

/// A way to ask an EC2.
#[derive(Debug, Clone)]
pub(super) struct Ec2Query {
    host: String,
}

impl Ec2Query {
    pub(super) fn new(endpoint: &str) -> Self {
        Self { host: endpoint.trim_start_matches("http://").to_owned() }
    }

    /// The instances of any farm.
    pub(super) fn instances(&self) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let page = self.call("DescribeInstances", &token)?;
            for reservation in page.all("reservationSet/item") {
                seen.extend(reservation.all("instancesSet/item").filter_map(instance));
            }
            match page.text("nextToken") {
                Some(next) if !next.is_empty() => token = format!("&NextToken={next}"),
                _ => return Ok(seen),
            }
        }
    }

    /// What an instance was told.
    pub(super) fn user_data(&self, id: &str) -> io::Result<Vec<u8>> {
        let value = self.attribute(id, "userData")?;
        BASE64_STANDARD.decode(value).map_err(io::Error::other)
    }

    /// Tells that an instance has switched itself off.
    pub(super) fn powered_off(&self, id: &str) -> io::Result<()> {
        let action = match self.attribute(id, "instanceInitiatedShutdownBehavior")?.as_str() {
            "terminate" => "TerminateInstances",
            _ => "StopInstances",
        };
        self.call(action, &format!("&InstanceId.1={id}")).map(drop)
    }

    /// The subnets and their zones.
    pub(super) fn subnets(&self) -> io::Result<Vec<(String, String)>> {
        let answer = self.call("DescribeSubnets", "")?;
        let subnet = |item: &Node| {
            Some((item.text("subnetId")?.to_owned(), item.text("availabilityZone")?.to_owned()))
        };
        let mut subnets: Vec<_> = answer.all("subnetSet/item").filter_map(subnet).collect();
        subnets.sort_by(|a, b| a.1.cmp(&b.1));
        subnets.truncate(2);
        Ok(subnets)
    }

    fn attribute(&self, id: &str, name: &str) -> io::Result<String> {
        let answer = self.call("DescribeInstanceAttribute", &format!("&InstanceId={id}&Attribute={name}"))?;
        let value = answer.all(name).find_map(|node| node.text("value"));
        value.map(str::to_owned).ok_or_else(|| io::Error::other("there is no such attribute"))
    }

    fn call(&self, action: &str, more: &str) -> io::Result<Node> {
        let body = format!("Action={action}&Version=2016-11-15{more}");
        let request = format!(
            "POST / HTTP/1.0\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/ec2/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, xml) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no answer"))?;
        if head.split_ascii_whitespace().nth(1) != Some("200") {
            return Err(io::Error::other(answer));
        }
        Node::parse(xml)
    }
}

fn instance(item: &Node) -> Option<Seen> {
    let state = item.all("instanceState").next()?.text("name")?;
    let is_farms = item.all("tagSet/item").any(|tag| tag.text("key") == Some("croft:farm"));
    let seen = Seen {
        id: item.text("instanceId")?.to_owned(),
        address: item.text("privateIpAddress").unwrap_or_default().to_owned(),
        is_up: ["pending", "running"].contains(&state),
        is_gone: state == "terminated",
    };
    is_farms.then_some(seen)
}

/// An element of XML.
#[derive(Debug, Default)]
struct Node {
    name: String,
    text: String,
    children: Vec<Node>,
}

impl Node {
    /// The outermost element. What the bridge reads is plain enough that nothing needs unescaping.
    fn parse(xml: &str) -> io::Result<Self> {
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().map_err(io::Error::other)? {
                Event::Start(tag) => {
                    let name = tag.local_name().as_ref().to_owned();
                    open.push(Self { name, ..Self::default() });
                }
                Event::Empty(tag) => {
                    let name = tag.local_name().as_ref().to_owned();
                    open.last_mut().unwrap().children.push(Self { name, ..Self::default() });
                }
                Event::Text(text) => {
                    open.last_mut().unwrap().text.push_str(&text);
                }
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(io::Error::other)?;
                    open.last_mut().unwrap().text.extend(character);
                }
                Event::End(_) => {
                    let node = open.pop().unwrap();
                    open.last_mut().ok_or_else(|| io::Error::other("too many ends"))?.children.push(node);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let root = open.pop().and_then(|mut document| document.children.pop());
        root.ok_or_else(|| io::Error::other("there is no element"))
    }

    /// The elements at the end of a path.
    fn all<'a>(&'a self, path: &str) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        let name = name.to_owned();
        let found = self.children.iter().filter(move |child| child.name == name);
        if rest.is_empty() {
            Box::new(found)
        } else {
            let rest = rest.to_owned();
            Box::new(found.flat_map(move |child| child.all(&rest)))
        }
    }

    /// The text of a child.
    fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().map(|node| node.text.trim())
    }
}
