//! The shape of the two texts that callers choose and rows keep. What does not have the shape never
//! reaches the log: it might be personal data.

/// Longest trace id and purpose token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 64;

/// Whether a text is a trace id: 1 to 64 of `A-Z a-z 0-9 _ . : -`.
#[must_use]
pub fn is_trace_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    !text.is_empty() && text.len() <= MAX_TOKEN_BYTES && text.bytes().all(allowed)
}

/// Whether a text is a purpose token: a letter `a-z`, then at most 63 of `a-z 0-9 _ . -`.
#[must_use]
pub fn is_purpose_token(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    text.len() <= MAX_TOKEN_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(allowed)
}
