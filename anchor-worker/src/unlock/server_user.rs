//! Which user of the operating system the server runs as. On the machine itself whoever may make a socket of the server's name, while the server is down or
//! in a copy of its directory, could answer in its place; he cannot run as its user.

use nix::unistd::User;

/// Debian's, and that of most others.
const USUAL: &str = "postgres";

/// The user's number; `None` if nobody was named and there is no user of the usual name: then anybody may listen.
///
/// # Errors
/// What is wrong with the name: no user of this machine has it.
pub fn uid(named: Option<&str>) -> Result<Option<u32>, &'static str> {
    let number = |name: &str| User::from_name(name).map(|user| user.map(|user| user.uid.as_raw()));
    match named {
        None => number(USUAL).map_err(|_| "the users of this machine cannot be looked up"),
        // A server in a container has a user that this machine has no name for.
        Some(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
            let uid = name.parse().map_err(|_| "is no number of a user")?;
            Ok(Some(uid))
        }
        Some(name) => match number(name) {
            Ok(Some(uid)) => Ok(Some(uid)),
            _ => Err("is no user of this machine"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::uid;

    #[test]
    fn users_have_names_and_numbers() {
        assert_eq!(uid(Some("root")), Ok(Some(0)));
        assert_eq!(uid(Some("70")), Ok(Some(70)));
        for wrong in ["", "no such user", "4294967296", "-1"] {
            assert!(uid(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
