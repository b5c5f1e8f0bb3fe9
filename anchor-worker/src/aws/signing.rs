//! Signature Version 4 of a request: computed by Amazon's own crate.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign as sigv4,
};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::Request;
use reqwest::header::{HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::Credentials;
use crate::trouble::{Kind, Trouble};

/// Which service a request goes to. S3 takes paths as they are and wants the hash of the body as a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Kms,
    S3,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::S3 => "s3",
        }
    }

    fn settings(self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self == Self::S3 {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        settings
    }
}

/// Signs a request whose headers and body are complete.
///
/// # Errors
/// What keeps the credentials from being had; `Configuration` if the request cannot be signed: its body is a stream, a header is no text.
pub async fn sign(
    request: &mut Request,
    service: Service,
    region: &str,
    credentials: &Credentials,
) -> Result<(), Trouble> {
    let unsignable = || Trouble::new(Kind::Configuration, "a request that cannot be signed");
    let identity = credentials.current().await?.into();
    let body = match request.body() {
        Some(body) => body.as_bytes().ok_or_else(unsignable)?,
        None => &[],
    };
    // Only the hash: with LOG_SIGNABLE_BODY in the environment the crate writes bodies into its traces.
    let body = SignableBody::Precomputed(hex::encode(Sha256::digest(body)));
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service.name())
        .time(SystemTime::now())
        .settings(service.settings())
        .build()
        .map_err(|_| unsignable())?
        .into();
    let mut headers = Vec::new();
    for (name, value) in request.headers() {
        headers.push((name.as_str(), value.to_str().map_err(|_| unsignable())?));
    }
    let (method, url) = (request.method().as_str(), request.url().as_str());
    let signable =
        SignableRequest::new(method, url, headers.into_iter(), body).map_err(|_| unsignable())?;
    let output = sigv4(signable, &params).map_err(|_| unsignable())?;
    let (headers, _) = output.into_parts().0.into_parts();
    for header in headers {
        let mut value = HeaderValue::from_str(header.value()).map_err(|_| unsignable())?;
        value.set_sensitive(header.sensitive());
        let name = HeaderName::from_static(header.name());
        request.headers_mut().insert(name, value);
    }
    Ok(())
}
