//! Mail, to a server of ours that passes it on: over TLS from the beginning or from STARTTLS on, and never without.

mod stream;

use std::path::{Path, PathBuf};

use identity_core::vocabulary::DeliveryTrouble;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use serde::Deserialize;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::failure::{Failure, of_tls};
use super::message::Message;
use crate::secret_file;
use crate::trouble::{Kind, Trouble};
use stream::{Lines, Secured};

const MOST_RECIPIENTS: usize = 20;

/// `[[outbox]]` with `kind = "smtp"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: String,
    pub host: String,
    /// Without it 465, or 587 for STARTTLS.
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub security: Security,
    /// Certificates that may vouch for the server; without it the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    pub from: String,
    pub to: Vec<String>,
}

/// From when on the connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// From its beginning.
    #[default]
    Tls,
    /// From the command of this name on, before anything is said.
    Starttls,
}

impl Config {
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        if self.username.is_some() != self.password_file.is_some() {
            return Some(("username", "and password_file belong together"));
        }
        if self.from.parse::<Mailbox>().is_err() {
            return Some(("from", "is not an address of mail"));
        }
        if !(1..=MOST_RECIPIENTS).contains(&self.to.len()) {
            return Some(("to", "must name from 1 to 20 addresses"));
        }
        let wrong = self.to.iter().any(|to| to.parse::<Mailbox>().is_err());
        wrong.then_some(("to", "holds what is not an address of mail"))
    }
}

pub(super) struct Smtp {
    host: String,
    port: u16,
    security: Security,
    tls: TlsParameters,
    login: Option<(String, Zeroizing<String>)>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Smtp {
    pub fn open(config: &Config) -> Result<Self, Trouble> {
        let wrong = |text: &str| Trouble::new(Kind::Configuration, text);
        let mailbox = |text: &String| text.parse().map_err(|_| wrong("is not an address of mail"));
        let login = match (&config.username, &config.password_file) {
            (Some(name), Some(file)) => Some((name.clone(), secret_file::read(file)?)),
            _ => None,
        };
        let default = match config.security {
            Security::Tls => 465,
            Security::Starttls => 587,
        };
        Ok(Self {
            host: config.host.clone(),
            port: config.port.unwrap_or(default),
            security: config.security,
            tls: tls(&config.host, config.ca_file.as_deref())?,
            login,
            from: mailbox(&config.from)?,
            to: config.to.iter().map(mailbox).collect::<Result<_, _>>()?,
        })
    }

    pub async fn deliver(&self, message: &Message) -> Result<(), Failure> {
        let mail = self.mail(message).map_err(|_| {
            let text = "the mail could not be written";
            Failure::new(DeliveryTrouble::Configuration, text)
        })?;
        let mut connection = self.connect().await?;
        let sent = connection.send(mail.envelope(), &mail.formatted()).await;
        sent.map_err(|error| failure(&error))?;
        // It is taken: what becomes of the farewell is no matter.
        let _ = connection.quit().await;
        Ok(())
    }

    /// Goes as far as a mail would, and sends none.
    pub async fn check(&self) -> Result<String, Failure> {
        let mut connection = self.connect().await?;
        let _ = connection.quit().await;
        let login = match self.login {
            Some(_) => " and knows us",
            None => "",
        };
        let host = &self.host;
        Ok(format!("{host} answers{login}; no mail was sent"))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await;
        let socket = socket.map_err(|error| {
            let text = format!("the server cannot be reached: {error}");
            Failure::new(DeliveryTrouble::Unreachable, text)
        })?;
        let (lines, us, tls) = (Lines::new(socket), ClientId::default(), self.tls.clone());
        let connected = match self.security {
            Security::Tls => {
                let secured = Secured::new(lines, tls).await;
                let secured = secured.map_err(|error| failure(&error))?;
                AsyncSmtpConnection::connect_with_transport(Box::new(secured), &us).await
            }
            Security::Starttls => {
                AsyncSmtpConnection::connect_with_transport(Box::new(lines), &us).await
            }
        };
        let mut connection = connected.map_err(|error| failure(&error))?;
        if self.security == Security::Starttls {
            if !connection.can_starttls() {
                connection.abort().await;
                let text = "the server offers no STARTTLS: nothing is said to it without";
                return Err(Failure::new(DeliveryTrouble::Tls, text));
            }
            let started = connection.starttls(self.tls.clone(), &us).await;
            started.map_err(|error| failure(&error))?;
        }
        if let Some((name, password)) = &self.login {
            let credentials = Credentials::new(name.clone(), password.to_string());
            let known = connection
                .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
                .await;
            known.map_err(|error| failure(&error))?;
        }
        Ok(connection)
    }

    fn mail(&self, message: &Message) -> Result<lettre::Message, lettre::error::Error> {
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(message.subject())
            .message_id(Some(format!(
                "<{}@{}>",
                message.id,
                self.from.email.domain()
            )))
            // Nobody's holiday is announced in answer to it.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        mail.body(message.text())
    }
}

fn tls(host: &str, authorities: Option<&Path>) -> Result<TlsParameters, Trouble> {
    // Chosen once for the process; a second choice of the same is no mistake.
    let _ = rustls_graviola::default_provider().install_default();
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = authorities {
        let unreadable = || {
            let text = format!("{} cannot be read as certificates", file.display());
            Trouble::new(Kind::Configuration, text)
        };
        let pem = std::fs::read(file).map_err(|_| unreadable())?;
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(unreadable());
        }
        let certificates = Certificate::from_pem(&pem).map_err(|_| unreadable())?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificates);
    }
    builder
        .build_rustls()
        .map_err(|error| Trouble::new(Kind::Configuration, error.to_string()))
}

/// What the server said is not repeated: it may say our own words, a password among them.
fn failure(error: &Error) -> Failure {
    if let Some(cause) = of_tls(error) {
        return Failure::new(DeliveryTrouble::Tls, cause.to_string());
    }
    let (word, text) = match error.status() {
        Some(code) if error.is_permanent() => (
            DeliveryTrouble::Refused,
            format!("the server refused with {code}"),
        ),
        Some(code) => (
            DeliveryTrouble::Unavailable,
            format!("the server cannot now: {code}"),
        ),
        None if error.is_response() => (
            DeliveryTrouble::Answer,
            "the server's answer is none of SMTP".into(),
        ),
        None if error.is_client() => (
            DeliveryTrouble::Refused,
            "the server offers no way to log in that we know".into(),
        ),
        None => (
            DeliveryTrouble::Unreachable,
            "the connection to the server broke".into(),
        ),
    };
    Failure::new(word, text)
}
