//! `get URL`: a tiny client for probes and chart tests in an image without a shell. It prints status, headers, length and
//! SHA-256, and compares them with what is expected.

use std::{io::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

/// Longest silence of the server.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to ask and what to expect.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Arguments {
    /// http URL
    pub url: String,
    /// Ask for these bytes: a-b, a- or -n
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    pub range: Option<String>,
    /// Send this header, "Name: value"; may be repeated
    #[arg(long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// Fail unless the status is this
    #[arg(long, value_name = "STATUS")]
    pub expect_status: Option<u16>,
    /// Fail unless this header contains this text, "Name=text"; may be repeated
    #[arg(long = "expect-header", value_name = "NAME=TEXT")]
    pub expect_headers: Vec<String>,
    /// Fail unless the body has this SHA-256, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub expect_sha256: Option<String>,
}

/// Why the probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Arguments that make no request.
    #[error("{0}")]
    Usage(String),
    /// No connection or a broken one.
    #[error("unable to get {url}: {reason}")]
    Transport {
        /// The URL.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The answer is another than was expected.
    #[error("expected {what} {expected}, got {actual}")]
    Unexpected {
        /// Which part of the answer.
        what: String,
        /// What should have been there.
        expected: String,
        /// What was there.
        actual: String,
    },
    /// The findings can't be printed.
    #[error("unable to print: {0}")]
    Print(#[from] std::io::Error),
}

/// Asks, prints to `output`, compares.
pub async fn run(arguments: &Arguments, output: &mut (dyn Write + Send)) -> Result<(), ProbeError> {
    let transport = |reason: String| ProbeError::Transport { url: arguments.url.clone(), reason };
    let uri: Uri = arguments.url.parse().map_err(|error| ProbeError::Usage(format!("not a URL: {error}")))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
    let host =
        host.ok_or_else(|| ProbeError::Usage("the URL must begin with http:// and name a host".into()))?;
    let request = request(&uri, arguments)?;
    let connecting = TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80)));
    let stream = patiently(connecting).await.map_err(transport)?;
    let (mut sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| transport(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let response = patiently(sender.send_request(request)).await.map_err(transport)?;
    print_head(&response, output)?;
    let (parts, mut body) = response.into_parts();
    let (mut length, mut hasher) = (0_u64, Sha256::new());
    loop {
        let frame =
            tokio::time::timeout(PATIENCE, body.frame()).await.map_err(|_| transport("silence".into()))?;
        let Some(frame) = frame else { break };
        if let Ok(bytes) = frame.map_err(|error| transport(error.to_string()))?.into_data() {
            length += bytes.len() as u64;
            hasher.update(&bytes);
        }
    }
    connection.abort();
    let sha256 = hex::encode(hasher.finalize());
    writeln!(output, "length {length}\nsha256 {sha256}")?;
    check(arguments, &parts, &sha256)
}

async fn patiently<Value, Failure: std::fmt::Display>(
    work: impl Future<Output = Result<Value, Failure>>,
) -> Result<Value, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".into()),
    }
}

fn request(uri: &Uri, arguments: &Arguments) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let usage = |text: &str| ProbeError::Usage(format!("`{text}` is not a header, write \"Name: value\""));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.parse().map_err(|error| ProbeError::Usage(format!("not a URL: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::try_from(authority).map_err(|_| usage(authority))?);
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(range) = &arguments.range {
        headers.insert(
            header::RANGE,
            HeaderValue::try_from(format!("bytes={range}")).map_err(|_| usage(range))?,
        );
    }
    for text in &arguments.headers {
        let (name, value) = text.split_once(':').ok_or_else(|| usage(text))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| usage(text))?;
        headers.insert(name, HeaderValue::try_from(value.trim()).map_err(|_| usage(text))?);
    }
    Ok(request)
}

fn print_head(response: &Response<Incoming>, output: &mut (dyn Write + Send)) -> std::io::Result<()> {
    writeln!(output, "{:?} {}", response.version(), response.status())?;
    for (name, value) in response.headers() {
        writeln!(output, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(())
}

fn check(arguments: &Arguments, parts: &http::response::Parts, sha256: &str) -> Result<(), ProbeError> {
    let unexpected = |what: &str, expected: &str, actual: String| {
        Err(ProbeError::Unexpected { what: what.to_owned(), expected: expected.to_owned(), actual })
    };
    if let Some(status) = arguments.expect_status
        && parts.status.as_u16() != status
    {
        return unexpected("status", &status.to_string(), parts.status.as_u16().to_string());
    }
    for expectation in &arguments.expect_headers {
        let Some((name, text)) = expectation.split_once('=') else {
            return Err(ProbeError::Usage(format!("`{expectation}` is no expectation, write Name=text")));
        };
        let actual =
            parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if !actual.as_ref().is_some_and(|actual| actual.contains(text)) {
            return unexpected(&format!("header {name} with"), text, actual.unwrap_or_else(|| "none".into()));
        }
    }
    match &arguments.expect_sha256 {
        Some(expected) if !expected.eq_ignore_ascii_case(sha256) => {
            unexpected("sha256", expected, sha256.to_owned())
        }
        _ => Ok(()),
    }
}
