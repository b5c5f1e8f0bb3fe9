//! Amazon's services: who we are to them, and how a request says so.

mod credentials;
mod kms;
mod signing;
mod web_identity;

pub use credentials::{Config, Credentials};
pub use kms::{Kms, KmsConfig};
pub use signing::{Service, sign};
