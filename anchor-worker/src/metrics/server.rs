//! HTTP, for whoever is on this machine. Nothing can be changed by a request; what can be had is bounded in time, in size and in number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::core::Collector as _;
use prometheus::{Gauge, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::database::{Foreign, Latest};
use super::{health, own};

const MOST_CONNECTIONS: usize = 16;
const MAX_HEADER_BYTES: usize = 8192;
const HEADER_LIMIT: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(20);

const PLAIN: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// Answers for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, foreign: Arc<Foreign>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptors left, in the main: others have to go first.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let foreign = foreign.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                let foreign = foreign.clone();
                async move { Ok::<_, Infallible>(answer(&request, &foreign).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .max_buf_size(MAX_HEADER_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Who went away, or wrote nonsense, is no news.
            let _ = timeout(LIMIT, connection).await;
        });
    }
}

async fn answer(request: &Request<Incoming>, foreign: &Foreign) -> Answer {
    if !is_for_us(request) {
        let text = "this is for this machine alone: ask for 127.0.0.1 or localhost\n";
        return plain(StatusCode::MISDIRECTED_REQUEST, text.to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    match request.uri().path() {
        "/metrics" => match numbers(&foreign.latest().await) {
            Some(text) => told(StatusCode::OK, TEXT_FORMAT, text),
            None => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the numbers cannot be told\n".to_owned(),
            ),
        },
        "/healthz" => match health::words() {
            Ok(words) => plain(StatusCode::OK, words),
            Err(words) => plain(StatusCode::SERVICE_UNAVAILABLE, words),
        },
        _ => plain(
            StatusCode::NOT_FOUND,
            "there are /metrics and /healthz\n".to_owned(),
        ),
    }
}

/// A page in a browser on this machine may ask under a name of its own that it has pointed here; it cannot ask under ours.
fn is_for_us(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    authority.is_some_and(|authority| {
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let address = address.parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

fn numbers(latest: &Latest) -> Option<String> {
    let mut families = own::gathered()?;
    let database = latest.numbers();
    let up = database.map_or(0.0, |_| 1.0);
    families.extend(gauge(
        "identity_worker_database_up",
        "1 if the database gave its numbers, otherwise 0.",
        up,
    )?);
    if let Some((numbers, age)) = database {
        families.extend(gauge(
            "identity_worker_database_age_seconds",
            "How old the database's numbers are.",
            age.as_secs_f64(),
        )?);
        families.extend_from_slice(numbers);
    }
    TextEncoder::new().encode_to_string(&families).ok()
}

fn gauge(name: &str, help: &str, value: f64) -> Option<Vec<prometheus::proto::MetricFamily>> {
    let gauge = Gauge::new(name, help).ok()?;
    gauge.set(value);
    Some(gauge.collect())
}

fn plain(status: StatusCode, text: String) -> Answer {
    told(status, PLAIN, text)
}

fn told(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let value = hyper::header::HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, value(kind));
    headers.insert(CACHE_CONTROL, value("no-store"));
    answer
}
