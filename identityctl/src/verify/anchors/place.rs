//! Which store: as the worker is configured, or as the arguments say.

use anchor_worker::aws;
use anchor_worker::store::{Config, directory, retention_days, s3};
use anchor_worker::trouble::{Kind, Trouble};

use crate::cli;

pub fn config(arguments: &cli::Store) -> Result<Config, Trouble> {
    let place = &arguments.place;
    let prefix = arguments.prefix.clone().unwrap_or_default();
    if let Some(file) = &place.config {
        return Config::read(file);
    }
    if let Some(directory) = &place.directory {
        return Ok(Config::Directory(directory::Config {
            path: directory.clone(),
            prefix,
            retention_days: retention_days(),
        }));
    }
    let (Some(bucket), Some(region)) = (&place.s3, &arguments.region) else {
        return Err(Trouble::new(Kind::Configuration, "no store was named"));
    };
    Ok(Config::S3(s3::Config {
        bucket: bucket.clone(),
        region: region.clone(),
        prefix,
        endpoint: arguments.endpoint.clone(),
        ca_file: arguments.ca_file.clone(),
        bucket_owner: None,
        credentials: aws::Config::Environment {},
        retention_days: retention_days(),
    }))
}
