//! Where to connect to: a connection string as psql takes it, and PG* variables for what it leaves out.
//!
//! The client library knows no `sslcert`, `sslkey` and `sslrootcert`; they are taken out of the string before it sees it.

use std::fmt::Write as _;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::Failure;
use super::tls::Files;

/// Where Debian's PostgreSQL has its socket.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

/// A server, who we are there, and how the way to it is protected.
#[derive(Clone)]
pub struct Options {
    pub config: Config,
    /// `None` over a Unix socket, and over TCP only if `sslmode=disable` says so.
    pub tls: Option<Files>,
    /// Which user of the operating system has to listen at a Unix socket; `None` if it may be any.
    pub server_uid: Option<u32>,
}

impl Options {
    /// `variable` reads the environment.
    pub fn parse(
        text: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let (mut own, rest) = split(text.unwrap_or_default())?;
        let config = rest.parse::<Config>();
        let mut config =
            config.map_err(|_| Failure(format!("the connection string cannot be read: {FORM}")))?;
        fill(&mut config, &variable)?;
        own.fill(&variable);
        let tcp = matches!(config.get_hosts(), [Host::Tcp(_)]);
        let tls = if tcp { own.files(&variable)? } else { None };
        Ok(Self {
            config,
            tls,
            server_uid: None,
        })
    }

    /// Whether whoever is on the way, or listens at the server's port first, can be the server.
    #[must_use]
    pub fn is_open_to_strangers(&self) -> bool {
        self.tls.is_none() && !matches!(self.config.get_hosts(), [Host::Unix(_)])
    }
}

const FORM: &str = "it looks like postgresql://user@host/database or like 'host=… dbname=… user=…'";

/// The parameters that are ours to understand.
#[derive(Debug, Default, PartialEq, Eq)]
struct Own {
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Own {
    fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "sslmode" => Some(&mut self.mode),
            "sslrootcert" => Some(&mut self.root),
            "sslcert" => Some(&mut self.certificate),
            "sslkey" => Some(&mut self.key),
            _ => None,
        }
    }

    fn fill(&mut self, variable: impl Fn(&str) -> Option<String>) {
        for name in ["sslmode", "sslrootcert", "sslcert", "sslkey"] {
            let given = variable(&format!("PG{}", name.to_uppercase()));
            if let Some(place @ None) = self.place(name) {
                *place = given;
            }
        }
    }

    /// Every mode but `disable` is taken as `verify-full`: a weaker one would let anybody be the server.
    fn files(self, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Files>, Failure> {
        match self.mode.as_deref() {
            Some("disable") => return Ok(None),
            None | Some("allow" | "prefer" | "require" | "verify-ca" | "verify-full") => {}
            Some(_) => return Err("sslmode is none that PostgreSQL knows".into()),
        }
        let home = variable("HOME").map(|home| PathBuf::from(home).join(".postgresql"));
        let usual = |name: &str| {
            home.as_ref()
                .map(|home| home.join(name))
                .filter(|file| file.exists())
        };
        let root = self.root.map(PathBuf::from).or_else(|| usual("root.crt"));
        let root = root.ok_or("over TCP the server's certificate is verified: name a file of authorities as sslrootcert")?;
        let certificate = self
            .certificate
            .map(PathBuf::from)
            .or_else(|| usual("postgresql.crt"));
        let key = self
            .key
            .map(PathBuf::from)
            .or_else(|| usual("postgresql.key"));
        let client = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err("sslcert and sslkey belong together: one of them is missing".into()),
        };
        Ok(Some(Files { root, client }))
    }
}

/// What the string leaves out, as libpq fills it in.
fn fill(config: &mut Config, variable: impl Fn(&str) -> Option<String>) -> Result<(), Failure> {
    if config.get_hosts().is_empty() {
        match variable("PGHOST") {
            Some(host) => config.host(host),
            None if PathBuf::from(SOCKET_DIRECTORY).is_dir() => config.host(SOCKET_DIRECTORY),
            None => config.host("localhost"),
        };
    }
    if config.get_hostaddrs().is_empty()
        && let Some(address) = variable("PGHOSTADDR")
    {
        let address = address.parse();
        config.hostaddr(address.map_err(|_| Failure::from("PGHOSTADDR is no address"))?);
    }
    if config.get_ports().is_empty()
        && let Some(port) = variable("PGPORT")
    {
        let port = port.parse();
        config.port(port.map_err(|_| Failure::from("PGPORT is no port"))?);
    }
    if config.get_user().is_none()
        && let Some(user) = variable("PGUSER")
    {
        config.user(user);
    }
    if config.get_dbname().is_none()
        && let Some(name) = variable("PGDATABASE")
    {
        config.dbname(name);
    }
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    config.application_name("identityctl");
    Ok(())
}

/// Takes our parameters out of a connection string.
fn split(text: &str) -> Result<(Own, String), Failure> {
    let is_url = ["postgresql://", "postgres://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    if is_url {
        split_url(text)
    } else {
        split_pairs(text)
    }
}

fn split_url(text: &str) -> Result<(Own, String), Failure> {
    let mut own = Own::default();
    let Some((before, query)) = text.split_once('?') else {
        return Ok((own, text.into()));
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match own.place(name) {
            None => kept.push(pair),
            Some(place) => {
                let value = percent_decode_str(value).decode_utf8();
                let value =
                    value.map_err(|_| Failure::from("the connection string is not UTF-8"))?;
                *place = Some(value.into_owned());
            }
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    Ok((own, format!("{before}{separator}{}", kept.join("&"))))
}

fn split_pairs(text: &str) -> Result<(Own, String), Failure> {
    let (mut own, mut kept) = (Own::default(), String::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let pair = rest.split_once('=');
        let (name, after) = pair.ok_or_else(|| {
            Failure(format!(
                "the connection string cannot be read, a name without a value: {FORM}"
            ))
        })?;
        let (value, after) = quoted(after.trim_start())?;
        rest = after.trim_start();
        let name = name.trim_end();
        match own.place(name) {
            Some(place) => *place = Some(value),
            None => {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                let _ = write!(kept, "{name}='{value}' ");
            }
        }
    }
    Ok((own, kept))
}

/// A value of a `key=value` string, and what comes after it.
fn quoted(text: &str) -> Result<(String, &str), Failure> {
    let (in_quotes, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        let rest = characters.as_str();
        match characters.next() {
            Some('\\') => value.extend(characters.next()),
            Some('\'') if in_quotes => return Ok((value, characters.as_str())),
            Some(c) if !in_quotes && c.is_ascii_whitespace() => return Ok((value, rest)),
            Some(c) => value.push(c),
            None if in_quotes => {
                return Err("the connection string cannot be read: a quote is open".into());
            }
            None => return Ok((value, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Options {
        Options::parse(Some(text), |_| None).unwrap()
    }

    fn files(root: &str, client: Option<(&str, &str)>) -> Option<Files> {
        Some(Files {
            root: root.into(),
            client: client.map(|(certificate, key)| (certificate.into(), key.into())),
        })
    }

    #[test]
    fn both_forms_of_a_connection_string_say_the_same() {
        for text in [
            "postgresql://aud%20itor@db.example:5433/identity?sslmode=verify-full&sslrootcert=%2Fa%20b&sslcert=c&sslkey=k&connect_timeout=3",
            "user='aud itor' host=db.example port = 5433 dbname=identity sslmode=verify-full sslrootcert=/a\\ b sslcert=c sslkey='k' connect_timeout=3",
        ] {
            let options = parse(text);
            assert_eq!(options.config.get_user(), Some("aud itor"));
            assert_eq!(options.config.get_hosts(), [Host::Tcp("db.example".into())]);
            assert_eq!(options.config.get_ports(), [5433]);
            assert_eq!(options.config.get_dbname(), Some("identity"));
            assert_eq!(
                options.config.get_connect_timeout().map(|t| t.as_secs()),
                Some(3)
            );
            assert_eq!(options.tls, files("/a b", Some(("c", "k"))));
        }
    }

    #[test]
    fn awkward_values_survive() {
        let (own, rest) = split(r"user='it\'s' password=a\\b\'c options='' sslkey='a\\b'").unwrap();
        assert_eq!(own.key.as_deref(), Some(r"a\b"));
        let config = rest.parse::<Config>().unwrap();
        assert_eq!(config.get_user(), Some("it's"));
        assert_eq!(config.get_password(), Some(r"a\b'c".as_bytes()));
        assert_eq!(
            split("postgres://h/d?sslcert=x").unwrap().1,
            "postgres://h/d"
        );
    }

    #[test]
    fn a_weaker_mode_is_not_weaker() {
        for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
            let options = parse(&format!("host=h sslrootcert=r sslmode={mode}"));
            assert_eq!(options.tls, files("r", None), "{mode}");
        }
        assert_eq!(parse("host=h sslrootcert=r").tls, files("r", None));
        assert_eq!(parse("host=h sslrootcert=r sslmode=disable").tls, None);
    }

    #[test]
    fn tcp_without_authorities_is_refused() {
        for text in [
            "host=h",
            "host=h sslmode=require",
            "host=h sslmode=off",
            "host=h sslrootcert=r sslcert=c",
            "host=h sslrootcert=r sslkey=k",
        ] {
            assert!(Options::parse(Some(text), |_| None).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_fill_what_the_string_leaves_out() {
        let variable = |name: &str| {
            let value = match name {
                "PGHOST" => "h",
                "PGHOSTADDR" => "127.0.0.1",
                "PGPORT" => "7",
                "PGUSER" => "u",
                "PGDATABASE" => "d",
                "PGPASSWORD" => "p",
                "PGSSLROOTCERT" => "r",
                "PGSSLCERT" => "c",
                "PGSSLKEY" => "k",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let options = Options::parse(None, variable).unwrap();
        assert_eq!(options.config.get_hosts(), [Host::Tcp("h".into())]);
        assert_eq!(options.config.get_hostaddrs().len(), 1);
        assert_eq!(
            (options.config.get_ports(), options.config.get_user()),
            (&[7][..], Some("u"))
        );
        assert_eq!(options.config.get_dbname(), Some("d"));
        assert_eq!(options.tls, files("r", Some(("c", "k"))));

        let options = Options::parse(Some("host=/tmp user=me port=8"), variable).unwrap();
        assert_eq!(options.config.get_hosts(), [Host::Unix("/tmp".into())]);
        assert_eq!(
            (options.config.get_ports(), options.config.get_user()),
            (&[8][..], Some("me"))
        );
        assert_eq!(options.tls, None);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "x",
            "user='a",
            "nonsense=1",
            "postgresql://h/d?nonsense=1",
            "port=x",
            "postgres://h/?sslcert=%ff",
        ] {
            assert!(Options::parse(Some(text), |_| None).is_err(), "{text}");
        }
    }
}
