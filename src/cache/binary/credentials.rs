//! Credentials, which come from files of their own and go nowhere but to the server.

use std::path::Path;

use base64::Engine as _;
use reqwest::header::HeaderValue;

use super::error::CacheError;

/// The largest file of credentials, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// Keys of S3.
pub(super) struct AwsKeys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

/// The profile `[default]` of a file as the AWS tools write it.
pub(super) fn aws_keys(path: &Path) -> Result<AwsKeys, CacheError> {
    parse_aws(&read(path)?).ok_or_else(|| CacheError::Settings {
        key: "credentials_file",
        cause: format!(
            "{} has no profile [default] with aws_access_key_id and aws_secret_access_key",
            path.display()
        ),
    })
}

/// What a netrc says for `host`, as the value of an `Authorization` header.
pub(super) fn authorization(path: &Path, host: &str) -> Result<HeaderValue, CacheError> {
    let bad = |cause: &str| CacheError::Settings {
        key: "credentials_file",
        cause: format!("{} {cause} {host}", path.display()),
    };
    let (login, password) =
        parse_netrc(&read(path)?, host).ok_or_else(|| bad("has no login and password for the machine"))?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
        .map_err(|_| bad("cannot be used for the machine"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path) -> Result<String, CacheError> {
    use std::io::Read as _;
    let failed =
        |source| CacheError::File { doing: "reading the cache's credentials", path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn parse_aws(text: &str) -> Option<AwsKeys> {
    let own = text.lines().map(str::trim).skip_while(|line| *line != "[default]").skip(1);
    let pairs: Vec<(&str, &str)> = own
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let get = |wanted| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    Some(AwsKeys {
        id: get("aws_access_key_id")?,
        secret: get("aws_secret_access_key")?,
        token: get("aws_session_token"),
    })
}

fn parse_netrc(text: &str, host: &str) -> Option<(String, String)> {
    let mut words = text.split_ascii_whitespace();
    let (mut ours, mut login, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" if ours && login.is_some() && password.is_some() => break,
            "machine" => (ours, login, password) = (words.next() == Some(host), None, None),
            "login" if ours => login = words.next(),
            "password" if ours => password = words.next(),
            _ => {}
        }
    }
    Some((login.filter(|_| ours)?.to_owned(), password?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_profile_and_machine_are_found() {
        let aws = "[other]\naws_access_key_id=x\n[default]\n# mine\naws_access_key_id = id\n\
                   aws_secret_access_key = a=b\n[more]\naws_session_token = t\n";
        let keys = parse_aws(aws).unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token), ("id", "a=b", None));
        assert!(parse_aws("[other]\naws_access_key_id=x\naws_secret_access_key=y").is_none());
        let netrc = "machine a login me password one\nmachine b\n  login you\n  password two\n";
        let found = |host| parse_netrc(netrc, host);
        assert_eq!(found("a"), Some(("me".to_owned(), "one".to_owned())));
        assert_eq!(found("b"), Some(("you".to_owned(), "two".to_owned())));
        assert_eq!(found("c"), None);
        assert_eq!(parse_netrc("machine a login me\nmachine b password two", "a"), None);
    }
}
