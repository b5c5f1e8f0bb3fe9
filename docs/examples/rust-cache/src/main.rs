//! Tries the cache by hand: `identity-cache CONNINFO PURPOSE MAX_STALE_SECONDS`, then a line `ID FIELD,FIELD…` for each question. Each answer is a
//! line: `hit` or `miss` and the values, or `refused` and the SQLSTATE.

use std::time::Duration;

use identity_cache::{Cache, Limits};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use uuid::Uuid;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [conninfo, purpose, max_stale] = arguments.as_slice() else {
        return Err("usage: identity-cache CONNINFO PURPOSE MAX_STALE_SECONDS".into());
    };
    let limits = Limits {
        max_stale: Duration::from_secs_f64(max_stale.parse()?),
        max_age: Duration::from_secs(60),
        max_entries: 10_000,
    };
    let mut cache = Cache::new(conninfo.parse()?, "m1", purpose, limits);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut lines = BufReader::new(stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let (id, fields) = line.split_once(' ').ok_or("a line is: ID FIELD,FIELD…")?;
            let (id, fields) = (id.parse::<Uuid>()?, fields.split(',').collect::<Vec<_>>());
            let hits = cache.hits;
            match cache.fields(id, &fields).await {
                Ok(values) => {
                    let how = if cache.hits > hits { "hit" } else { "miss" };
                    let shown = fields.iter().map(|field| {
                        let value = values.get(*field).and_then(Option::as_ref);
                        format!("{field}={}", value.map_or("", |value| value.as_str()))
                    });
                    println!("{how} {}", shown.collect::<Vec<_>>().join("\t"));
                }
                Err(error) => println!("refused {}", error.code().map_or("-", |code| code.code())),
            }
        }
        Ok(())
    })
}
