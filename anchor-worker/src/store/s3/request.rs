//! Requests: addresses, signatures, and what the answer's status means.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, StatusCode};

use super::{Bucket, answer};
use crate::aws::{self, Service};
use crate::http;
use crate::store::Entry;
use crate::trouble::{Kind, Trouble};

/// A page of a thousand versions has half a megabyte, with keys of the greatest length six.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// All but the unreserved characters of RFC 3986, as signatures demand.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What Amazon answers to who signs for another region than the bucket's.
const ELSEWHERE: &str = "AuthorizationHeaderMalformed";

/// One request.
pub(super) struct Ask {
    method: Method,
    path: String,
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Most bytes of the answer.
    pub limit: usize,
}

/// What came back, of a request that was done.
pub(super) struct Answer {
    headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Ask {
    /// Something of the bucket itself.
    pub fn bucket(what: &'static str) -> Self {
        let mut ask = Self::key(Method::GET, "", "");
        ask.query.push((what, String::new()));
        ask
    }

    /// Something of a key that needs no encoding.
    pub fn key(method: Method, prefix: &str, key: &str) -> Self {
        Self {
            method,
            path: format!("{prefix}{key}"),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            limit: MAX_ANSWER_BYTES,
        }
    }

    /// One version of a key.
    pub fn version(prefix: &str, entry: &Entry) -> Result<Self, Trouble> {
        if !crate::store::key::is_key(&entry.key) {
            return Err(Trouble::new(Kind::Missing, "a key that is none of ours"));
        }
        let mut ask = Self::key(Method::GET, prefix, &entry.key);
        ask.query.push(("versionId", entry.version_id.clone()));
        Ok(ask)
    }

    fn query(&self) -> Option<String> {
        let pair = |(name, value): &(&str, String)| {
            if value.is_empty() {
                (*name).to_owned()
            } else {
                format!("{name}={}", utf8_percent_encode(value, QUERY))
            }
        };
        let pairs: Vec<_> = self.query.iter().map(pair).collect();
        (!pairs.is_empty()).then(|| pairs.join("&"))
    }
}

impl Bucket {
    /// Asks, and returns the answer to what was done.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, Trouble> {
        let unsayable =
            || Trouble::new(Kind::Configuration, "store: a request that cannot be made");
        let mut url = self.address.join(&ask.path).map_err(|_| unsayable())?;
        url.set_query(ask.query().as_deref());
        let mut request = Request::new(ask.method, url);
        let owner = self
            .owner
            .clone()
            .map(|owner| ("x-amz-expected-bucket-owner", owner));
        for (name, value) in ask.headers.into_iter().chain(owner) {
            let value = HeaderValue::from_str(&value).map_err(|_| unsayable())?;
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        *request.body_mut() = Some(ask.body.into());
        aws::sign(&mut request, Service::S3, &self.region, &self.credentials).await?;
        let sent = self.client.execute(request).await;
        let response = sent.map_err(|error| http::unreachable(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::body(response, ask.limit).await?;
        // A service that is not Amazon's may take what was signed for another region.
        if headers
            .get("x-amz-bucket-region")
            .is_some_and(|region| region.as_bytes() != self.region.as_bytes())
        {
            let text = "the bucket is in another region than the one declared";
            return Err(Trouble::new(Kind::Configuration, text));
        }
        if status == StatusCode::OK {
            return Ok(Answer { headers, body });
        }
        Err(refusal(status, answer::error_code(&body).as_deref()))
    }
}

/// What another status than 200 means. Of what the server says only the code is repeated: its messages may hold what was sent.
fn refusal(status: StatusCode, code: Option<&str>) -> Trouble {
    let kind = match (status.as_u16(), code) {
        (301..=308, _) | (_, Some(ELSEWHERE | "NoSuchBucket")) => Kind::Configuration,
        (429, _) | (_, Some("SlowDown")) => Kind::Throttled,
        (401 | 403, _) => Kind::Denied,
        (404, _) => Kind::Missing,
        (409 | 412, _) => Kind::Conflict,
        (408, _) => Kind::Unreachable,
        (500.., _) => Kind::Unavailable,
        (..=299, _) => Kind::Untrue,
        _ => Kind::Configuration,
    };
    let hint = match (code, kind) {
        (Some("NoSuchBucket"), _) => ": there is no such bucket",
        (Some(ELSEWHERE), _) => ": the bucket is not in the region that was declared",
        (Some("RequestTimeTooSkewed"), _) => ": the clock of this machine is wrong",
        _ if status.is_redirection() => ": the bucket is not in the region that was declared",
        _ => "",
    };
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    let text = format!("the store answered {}{code}{hint}", status.as_u16());
    Trouble::new(kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: Option<&str>) -> Kind {
        refusal(StatusCode::from_u16(status).unwrap(), code).kind
    }

    #[test]
    fn what_a_status_means() {
        assert_eq!(kind(412, Some("PreconditionFailed")), Kind::Conflict);
        assert_eq!(
            kind(409, Some("ConditionalRequestConflict")),
            Kind::Conflict
        );
        assert_eq!(kind(403, None), Kind::Denied);
        assert_eq!(kind(403, Some("SignatureDoesNotMatch")), Kind::Denied);
        assert_eq!(kind(404, Some("NoSuchVersion")), Kind::Missing);
        assert_eq!(kind(404, Some("NoSuchBucket")), Kind::Configuration);
        assert_eq!(kind(301, Some("PermanentRedirect")), Kind::Configuration);
        assert_eq!(kind(307, None), Kind::Configuration);
        assert_eq!(
            kind(400, Some("AuthorizationHeaderMalformed")),
            Kind::Configuration
        );
        assert_eq!(kind(503, Some("SlowDown")), Kind::Throttled);
        assert_eq!(kind(503, None), Kind::Unavailable);
        assert_eq!(kind(500, Some("InternalError")), Kind::Unavailable);
        assert_eq!(kind(507, None), Kind::Unavailable);
        assert_eq!(kind(204, None), Kind::Untrue);
        assert_eq!(kind(206, None), Kind::Untrue);
    }

    #[test]
    fn a_query_is_encoded_as_signatures_demand() {
        let mut ask = Ask::bucket("versions");
        ask.query.push(("prefix", "a b/ä+~".into()));
        assert_eq!(ask.query().unwrap(), "versions&prefix=a%20b%2F%C3%A4%2B~");
    }
}
