//! Amazon's services: who we are to them, and how a request says so.

mod credentials;
mod kms;
mod signing;
mod web_identity;

pub use credentials::{Config, Credentials};
pub use kms::{Kms, KmsConfig};
pub use signing::{Service, sign};

/// Whether an address is Amazon's, in another region than this one, by the name that each of its endpoints has.
#[must_use]
pub fn is_elsewhere(address: &reqwest::Url, region: &str) -> bool {
    let host = address.host_str().unwrap_or_default();
    let is_amazons = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    is_amazons.iter().any(|end| host.ends_with(end))
        && !host.split('.').any(|label| label == region)
}

#[cfg(test)]
mod tests {
    use super::is_elsewhere;

    #[test]
    fn an_endpoint_of_amazons_is_in_the_region_that_its_name_says() {
        let elsewhere = |host: &str| {
            let address = format!("https://{host}/bucket/").parse().unwrap();
            is_elsewhere(&address, "eu-central-1")
        };
        for here in [
            "b.s3.eu-central-1.amazonaws.com",
            "kms-fips.eu-central-1.amazonaws.com",
            "s3.dualstack.eu-central-1.amazonaws.com",
            "vpce-1-2.s3.eu-central-1.vpce.amazonaws.com",
            "s3.example",
            "127.0.0.1:8080",
        ] {
            assert!(!elsewhere(here), "{here}");
        }
        for there in [
            "b.s3.us-east-1.amazonaws.com",
            "s3.amazonaws.com",
            "eu-central-10.amazonaws.com",
            "kms.cn-north-1.amazonaws.com.cn",
        ] {
            assert!(elsewhere(there), "{there}");
        }
    }
}
