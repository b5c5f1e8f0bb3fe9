//! A subject's vertical: what texts say about it, and what reviewers do.
//!
//! Lock order: the subject's bucket before the snapshot, as everywhere; a text is searched before either. The lock on the pattern list is
//! taken by nobody who holds a bucket.

pub mod audit;
pub mod forecast;
pub mod history;
pub mod observe;
pub mod patterns;
pub mod review;
