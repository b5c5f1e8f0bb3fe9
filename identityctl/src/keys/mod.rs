//! `identityctl keys`: what operators do with keys.

pub mod rotate;
