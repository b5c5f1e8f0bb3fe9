use std::time::Duration;

use super::*;

const GOOD: &str = r#"
[database]
url = "postgresql:///identity?host=/run/pg&user=anchor_worker"
[signer]
provider = "file"
key_file = "/etc/anchor-worker/signer.key"
[store]
kind = "directory"
path = "/var/lib/anchor-worker/anchors"
"#;

fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
    Config::parse(text, |_| None)
}

fn mistakes(text: &str) -> Vec<String> {
    let Err(mistakes) = parse(text) else {
        panic!("understood: {text}");
    };
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shortest_configuration_anchors_every_ten_minutes_for_seven_years() {
    let config = parse(GOOD).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert!(config.unlock.is_none());
    let anchor = config.anchor.unwrap();
    assert_eq!(anchor.every, Duration::from_secs(600));
    assert!(anchor.store.retention_days() >= 7 * 365);
}

#[test]
fn a_worker_may_unlock_and_anchor_nothing() {
    let text = r#"
[database]
url = "postgresql:///identity?host=/run/pg"
[unlock]
secret_key_file = "/etc/anchor-worker/unlock.key"
state_directory = "/var/lib/anchor-worker"
[kek]
provider = "vault"
address = "https://vault.example:8200"
key = "identity"
auth = { method = "token", token_file = "/etc/anchor-worker/token" }
"#;
    let config = parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert!(config.unlock.is_some() && config.anchor.is_none());
}

#[test]
fn keys_go_where_nobody_else_can_be_the_server() {
    let text = |url: &str, more: &str| {
        format!(
            "[database]\nurl = \"{url}\"\n[unlock]\nsecret_key_file = \"/x\"\nstate_directory = \"/y\"\n{more}\n[kek]\nprovider = \"file\"\nkey_file = \"/z\"\n"
        )
    };
    let uid = |more| parse(&text("host=/run/pg", more)).ok()?.database.server_uid;
    assert_eq!(uid("server_user = \"root\""), Some(0));
    assert_eq!(uid("server_user = \"70\""), Some(70));
    let found = mistakes(&text("host=/run/pg", "server_user = \"no such user\""));
    assert_eq!(
        found,
        ["line 6, column 1: [unlock] server_user: is no user of this machine"]
    );
    for open in [
        "postgresql://db.example/x?sslmode=disable",
        "host=127.0.0.1 sslmode=disable",
    ] {
        let found = mistakes(&text(open, ""));
        assert!(
            found[0].starts_with("line 2, column 1: [database] url: a database is unlocked over"),
            "{found:?}"
        );
    }
    assert!(parse(&text("host=127.0.0.1 sslrootcert=/ca", "")).is_ok());
    // Without keys to give away it is the database's own matter.
    assert!(parse(&GOOD.replace("host=/run/pg", "host=127.0.0.1&sslmode=disable")).is_ok());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = r#"
[database]
url = "host=h sslmode=off"
port = 5432
[signer]
provider = "file"
key_fiel = "/x"
[store]
kind = "directory"
path = 7
[anchor]
every = "2h"
former_keys = ["x"]
[telemetry]
"#;
    let found = mistakes(text);
    let expected = [
        "line 3, column 1: [database] url: sslmode is none",
        "line 4, column 1: [database] port: unknown field `port`, expected `url`",
        "line 5, column 2: [signer] missing field `key_file`",
        "line 7, column 1: [signer] key_fiel: unknown field `key_fiel`, expected `key_file`",
        "line 10, column 1: [store] path: invalid type: integer `7`, expected path string",
        "line 12, column 1: [anchor] every: must be from 1s to 1h",
        "line 13, column 1: [anchor] former_keys: holds what is no verifier key",
        "line 14, column 2: telemetry is not known here",
    ];
    // A section with a mistake gives no values, so what they would mean is told once it is read.
    for line in expected
        .iter()
        .filter(|line| !line.contains("url: sslmode"))
    {
        assert!(
            found.iter().any(|mistake| mistake.starts_with(line)),
            "{line} in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len() - 1, "{found:#?}");
    let found = mistakes(&text.replace("port = 5432\n", ""));
    assert!(found[0].starts_with(expected[0]), "{found:#?}");
}

#[test]
fn what_belongs_together_is_asked_for() {
    let of = |text: &str| mistakes(&format!("[database]\nurl = \"host=/x\"\n{text}")).join("\n");
    assert!(of("").contains("there is nothing to do"));
    assert!(mistakes("").join("\n").contains("[database] is missing"));
    let signer = "[signer]\nprovider = \"file\"\nkey_file = \"/x\"\n";
    assert!(of(signer).contains("line 3, column 2: [signer] needs [store]"));
    let unlock = "[unlock]\nsecret_key_file = \"/x\"\nstate_directory = \"/y\"\n";
    assert!(of(unlock).contains("[unlock] needs [kek]"));
    assert!(of("[anchor]\nevery = \"5m\"\n").contains("[anchor] needs [store]"));
    assert!(
        of("store = 1\n").contains("store is not known here") || of("").contains("nothing to do")
    );
}

#[test]
fn what_cannot_be_written_in_toml_is_told_with_its_place() {
    let found = mistakes(&GOOD.replace("kind = \"directory\"", "kind = directory"));
    assert!(found[0].starts_with("line 8, column 8: "), "{found:?}");
    let found = mistakes(&format!("{GOOD}\n[store]\nkind = \"s3\"\n"));
    assert!(found[0].starts_with("line 11, column"), "{found:?}");
}

#[test]
fn a_section_that_is_none_is_told() {
    let found = mistakes("database = \"postgresql:///x\"\n");
    assert!(
        found.contains(&"line 1, column 1: database must be a section: [database]".into()),
        "{found:?}"
    );
}

#[test]
fn another_provider_is_told_and_those_that_there_are() {
    let found = mistakes(&GOOD.replace("\"file\"", "\"gcp\""));
    assert!(
        found[0].starts_with(
            "line 5, column 1: [signer] provider: unknown variant `gcp`, expected one of `vault`"
        ),
        "{found:?}"
    );
}

#[test]
fn no_mistake_tells_a_value() {
    let secret = "hunter2";
    for text in [
        GOOD.replace("url = \"", "password = \"hunter2\"\nurl = \""),
        GOOD.replace("key_file = \"", "key_file = [\"hunter2\"]\n# \""),
        GOOD.replace("postgresql:///", "postgresql://user:hunter2@[/"),
        GOOD.replace("path = ", "retention_days = \"hunter2\"\npath = "),
        GOOD.replace("[store]", "[anchor]\nevery = \"hunter2\"\n[store]"),
        GOOD.replace("[store]", "[anchor]\nformer_keys = [\"hunter2\"]\n[store]"),
        GOOD.replace("[database]", "database = \"hunter2\"\n[x]"),
        GOOD.replace("/etc/anchor-worker/signer.key\"", "hunter2"),
    ] {
        let found = mistakes(&text).join("\n");
        assert!(!found.contains(secret), "{found}");
    }
}
