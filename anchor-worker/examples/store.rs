//! Drives a store from a shell: what the system tests use to put anchors where they then attack them.
//!
//! `store CONFIG check | put KEY SECONDS (body on standard input) | first KEY | last [HINT] | versions`; CONFIG is the TOML of a section `[store]`. One line of JSON; exit code
//! 1 with `{"kind", "text"}` if it did not work.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anchor_worker::store::{CHECKPOINTS, Config, Object, Store, Stored, folder};
use anchor_worker::trouble::{Kind, Trouble};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments).await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(Trouble { kind, text }) => {
            println!("{}", json!({"kind": format!("{kind:?}"), "text": text}));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[&str]) -> Result<Value, Trouble> {
    let wrong = |what: String| Trouble::new(Kind::Configuration, what);
    let [file, command @ ..] = arguments else {
        return Err(wrong("no configuration".into()));
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let config: Config = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let store = Store::open(&config).await?;
    match command {
        ["check"] => {
            let checked = store.check().await?;
            Ok(json!({"immutable": checked.immutable, "text": checked.text}))
        }
        ["put", key, seconds] => {
            let mut body = Vec::new();
            let read = std::io::stdin().read_to_end(&mut body);
            read.map_err(|error| wrong(error.to_string()))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_err(|error| wrong(error.to_string()))?.as_micros();
            let until = i64::try_from(now).ok().zip(seconds.parse::<i64>().ok());
            let until = until.map_or(0, |(now, seconds)| now + seconds * 1_000_000);
            store.put(key, &body, until).await.map(stored)
        }
        ["first", key] => Ok(store.first(key).await?.map_or(Value::Null, object)),
        ["last"] => Ok(json!(store.last_key(&folder(1, CHECKPOINTS), None).await?)),
        ["last", hint] => Ok(json!(
            store.last_key(&folder(1, CHECKPOINTS), Some(hint)).await?
        )),
        ["versions"] => {
            let (mut found, mut versions) = (Vec::new(), store.versions(&folder(1, CHECKPOINTS)));
            while let Some(page) = versions.next().await? {
                for entry in page {
                    let (key, version, marker) = (entry.key, entry.version_id, entry.delete_marker);
                    found.push(json!({"key": key, "version_id": version, "delete_marker": marker}));
                }
            }
            Ok(json!(found))
        }
        _ => Err(wrong("no such command".into())),
    }
}

fn object(object: Object) -> Value {
    let mut answer = stored(object.stored);
    answer["body"] = json!(String::from_utf8_lossy(&object.body));
    answer
}

fn stored(stored: Stored) -> Value {
    json!({"uri": stored.uri, "version_id": stored.version_id, "lock_until": stored.lock_until})
}
