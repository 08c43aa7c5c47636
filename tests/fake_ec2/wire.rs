//! The Query protocol: a form in, XML out.

use std::{collections::BTreeMap, fmt::Write};

/// The parameters of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a body.
    pub(super) fn parse(body: &str) -> Self {
        let url = reqwest::Url::parse(&format!("http://form/?{body}")).unwrap();
        Self(url.query_pairs().into_owned().collect())
    }

    /// A parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that must be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::new("MissingParameter", &format!("there is no {name}")))
    }

    /// The values of a list, `name.1`, `name.2` and so on.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|index| self.get(&format!("{name}.{index}"))).collect()
    }

    /// The filters.
    pub(super) fn filters(&self) -> Vec<(&str, Vec<&str>)> {
        let filter = |index| {
            let name = self.get(&format!("Filter.{index}.Name"))?;
            Some((name, self.list(&format!("Filter.{index}.Value"))))
        };
        (1..).map_while(filter).collect()
    }

    /// The tags of one kind of thing.
    pub(super) fn tags(&self, kind: &str) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        for spec in (1..).map(|index| format!("TagSpecification.{index}")) {
            let Some(own) = self.get(&format!("{spec}.ResourceType")) else { break };
            for tag in (1..).map(|index| format!("{spec}.Tag.{index}")) {
                let Some(key) = self.get(&format!("{tag}.Key")).filter(|_| own == kind) else { break };
                tags.insert(key.to_owned(), self.get(&format!("{tag}.Value")).unwrap_or_default().to_owned());
            }
        }
        tags
    }

    /// The names of all parameters.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: &str, message: &str) -> Self {
        Self { status: 400, code: code.to_owned(), message: message.to_owned() }
    }

    pub(super) fn xml(&self) -> String {
        let error = element("Code", &escape(&self.code)) + &element("Message", &escape(&self.message));
        let errors = element("Errors", &element("Error", &error));
        format!("<?xml version=\"1.0\"?>{}", element("Response", &(errors + &element("RequestID", "fake"))))
    }
}

/// The answer of an action.
pub(super) fn answer(action: &str, inside: &str) -> String {
    let name = format!("{action}Response");
    format!(
        "<?xml version=\"1.0\"?><{name} xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>fake</requestId>{inside}</{name}>"
    )
}

/// An element around XML.
pub(super) fn element(name: &str, inside: &str) -> String {
    format!("<{name}>{inside}</{name}>")
}

/// An element around text.
pub(super) fn text(name: &str, inside: &str) -> String {
    element(name, &escape(inside))
}

/// A list of XML.
pub(super) fn list(name: &str, items: impl IntoIterator<Item = String>) -> String {
    element(name, &items.into_iter().map(|item| element("item", &item)).collect::<String>())
}

fn escape(raw: &str) -> String {
    let mut out = String::new();
    for c in raw.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '-' | '_' | '.' | ':' | '/' | '+' | '=' | ',' => {
                out.push(c);
            }
            c => write!(out, "&#{};", u32::from(c)).unwrap(),
        }
    }
    out
}
