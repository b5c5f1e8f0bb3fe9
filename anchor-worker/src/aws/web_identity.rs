//! A role taken with a token of an identity provider: `AssumeRoleWithWebIdentity` of the Security Token Service, a request that is not signed since
//! the token speaks for itself.

use std::env;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_credential_types::Credentials as Current;
use reqwest::{Client, StatusCode, Url};
use roxmltree::Document;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::trouble::{Kind, Trouble};
use crate::{http, secret_file};

const MAX_ANSWER_BYTES: usize = 1 << 16;

/// What is left out comes from the variables that Kubernetes' and GitHub's integrations set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Else `AWS_ROLE_ARN`.
    pub role_arn: Option<String>,
    /// Else `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
    /// Else the service of the region.
    pub endpoint: Option<String>,
}

pub(super) struct WebIdentity {
    client: Client,
    endpoint: Url,
    role_arn: String,
    token_file: PathBuf,
}

impl WebIdentity {
    pub(super) fn open(
        config: &Config,
        region: &str,
        authorities: Option<&Path>,
    ) -> Result<Self, Trouble> {
        let missing = |what| Trouble::new(Kind::Configuration, what);
        let get = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let role_arn = config.role_arn.clone().or_else(|| get("AWS_ROLE_ARN"));
        let token_file = config.token_file.clone();
        let token_file =
            token_file.or_else(|| get("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from));
        let endpoint = match &config.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://sts.{region}.amazonaws.com/"),
        };
        Ok(Self {
            client: http::client(authorities)?,
            endpoint: http::endpoint(&endpoint)?,
            role_arn: role_arn
                .ok_or_else(|| missing("neither role_arn nor AWS_ROLE_ARN is set"))?,
            token_file: token_file.ok_or_else(|| {
                missing("neither token_file nor AWS_WEB_IDENTITY_TOKEN_FILE is set")
            })?,
        })
    }

    pub(super) async fn assume(&self) -> Result<Current, Trouble> {
        let token = secret_file::read_token(&self.token_file)?;
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role_arn),
            ("RoleSessionName", "anchor-worker"),
            ("WebIdentityToken", &token),
        ];
        let response = self
            .client
            .post(self.endpoint.clone())
            .form(&form)
            .send()
            .await
            .map_err(|error| http::unreachable(&error))?;
        let status = response.status();
        let body = Zeroizing::new(http::body(response, MAX_ANSWER_BYTES).await?);
        if !status.is_success() {
            return Err(refused(status));
        }
        issued(&body).ok_or_else(|| {
            Trouble::new(
                Kind::Untrue,
                "the token service's answer holds no credentials",
            )
        })
    }
}

fn refused(status: StatusCode) -> Trouble {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => Kind::Throttled,
        status if status.is_server_error() => Kind::Unavailable,
        _ => Kind::Denied,
    };
    let status = status.as_u16();
    Trouble::new(
        kind,
        format!("the token service does not give us the role: status {status}"),
    )
}

fn issued(body: &[u8]) -> Option<Current> {
    let answer = Document::parse(core::str::from_utf8(body).ok()?).ok()?;
    let mut all = answer.descendants();
    let credentials = all.find(|node| node.tag_name().name() == "Credentials")?;
    let text = |name| {
        let mut members = credentials.children();
        let member = members.find(|node| node.tag_name().name() == name)?;
        member.text().filter(|text| !text.is_empty())
    };
    let expiry = OffsetDateTime::parse(text("Expiration")?, &Rfc3339).ok()?;
    let id = text("AccessKeyId")?;
    let (secret, token) = (text("SecretAccessKey")?, text("SessionToken")?);
    Some(Current::new(
        id,
        secret,
        Some(token.to_owned()),
        Some(SystemTime::from(expiry)),
        "anchor-worker",
    ))
}
