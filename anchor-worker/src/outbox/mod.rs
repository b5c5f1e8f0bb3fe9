//! Notices brought to where people read them: webhooks, Slack, mail. Each channel by itself, so that none waits for another, and nothing else for any of
//! them.
//!
//! Two sources. What the database put into its outbox is brought at least once, however long it takes (about a day). What this worker itself is alarmed
//! of goes straight to the channels: the database that it is about may lie, or be away.
//!
//! Trust: neither the database nor a channel is trusted. What the database hands over is sent only if it is a notice of ours, word for word; of what a
//! channel answers nothing is read but whether it took the message.

mod alarms;
mod channel;
mod duty;
mod failure;
mod message;
mod smtp;
mod webhook;

pub(crate) use alarms::tell;
pub use alarms::{Alarms, Layer};
pub use channel::Config;
pub(crate) use channel::{Channel, MOST_CHANNELS, open, twice};
pub(crate) use duty::Outbox;
pub(crate) use failure::Failure;
