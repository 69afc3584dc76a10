//! The mock of the control plane beside the origin: it vouches for the hashes of one content. The hashes are made once and
//! the answers are written before, so that what is measured is the sidecar's work alone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use connected_cache_mock_control_plane::control_plane::{Expectation, ScriptedReply, Service};
use connected_cache_mock_control_plane::{self as mock, Config, Listen, MockControlPlane, Tls};
use connected_cache_wire::delivery_optimization::{PieceHashFile, PieceHashFileBuilder};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::content::{Content, LONGEST_RUN, Shift};
use crate::load::HOST;
use crate::machine;

/// Where it listens, outside of the range that clients take their ports from.
const HTTPS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);
/// Name of the host of the hashes: the origin has content only.
const HASHES_HOST: &str = "hashes.bench.example";
/// Path of the hashes.
const HASHES: &str = "/hashes.json";

/// A running mock.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    mock: Option<MockControlPlane>,
    runtime: Runtime,
    access: Access,
}

/// What a sidecar needs to ask it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) geo_url: String,
    pub(crate) ca_file: PathBuf,
    /// Host of the hashes, and where it is.
    pub(crate) hashes: (&'static str, SocketAddr),
}

impl ControlPlane {
    /// Starts it on one core; it vouches for the content at `path` and knows no other. `folder` is for its files.
    pub(crate) fn start(
        content: &Content,
        path: &str,
        length: u64,
        folder: &Path,
        core: usize,
    ) -> Result<Self> {
        let hashes = hashes(content, path, length)?;
        let folder = folder.join("control-plane");
        let served = folder.join("served");
        std::fs::create_dir_all(&served)?;
        std::fs::write(served.join(HASHES.trim_start_matches('/')), hashes.encode())?;
        let ca_file = folder.join("ca.pem");
        let config = Config {
            listen: Listen { http: Some(HTTP), https: Some(HTTPS) },
            tls: Tls { ca_file: Some(ca_file.clone()), ..Tls::default() },
            content: mock::Content { folder: Some(served), formulas: Vec::new() },
            control_plane: Some(mock::ControlPlane {
                expectations: Some(expectations(path, &hashes)),
                ..mock::ControlPlane::default()
            }),
            ..Config::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control-plane")
            .on_thread_start(move || {
                // It would run on the core of the caller, which is the same one.
                let _ = machine::pin(core);
            })
            .enable_all()
            .build()?;
        let mock = runtime
            .block_on(MockControlPlane::start(config))
            .context("unable to start the mock of the control plane")?;
        let access = Access { geo_url: format!("https://{HTTPS}/geo"), ca_file, hashes: (HASHES_HOST, HTTP) };
        Ok(Self { mock: Some(mock), runtime, access })
    }

    pub(crate) const fn access(&self) -> &Access {
        &self.access
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(mock) = self.mock.take() {
            self.runtime.block_on(mock.shutdown());
        }
    }
}

/// The hashes of a content of the origin.
fn hashes(content: &Content, path: &str, length: u64) -> Result<PieceHashFile> {
    let shift = Shift::of(path);
    let mut builder = PieceHashFileBuilder::new();
    let mut offset = 0;
    while offset < length {
        let run = content.run(shift, offset, (length - offset).min(LONGEST_RUN as u64));
        builder.push(run)?;
        offset += run.len() as u64;
    }
    Ok(builder.finish())
}

/// Everything is answered by the services, except which content there is.
fn expectations(path: &str, hashes: &PieceHashFile) -> Vec<Expectation> {
    let scripted = |status, json: Value| Some(ScriptedReply { status, json });
    let hash_of_hashes = hashes.hash_of_hashes().to_base64();
    let known = json!({
        "ContentId": format!("DO-{}", hash_of_hashes.replace('/', "-").replace('+', "_")),
        "HashOfHashes": hash_of_hashes,
        "PiecesHashFileCdnUrls": [format!("http://{HASHES_HOST}{HASHES}")],
        "ContentCdnUrls": null, "IsSecure": false, "IsInternal": false,
        "Policies": {
            "ForegroundQosBps": 6_710_886, "BackgroundQosBps": 2_621_440, "MaxCacheAgeSecs": 86_400,
            "ExpireAtSecsSinceEpoch": null, "DownloadToExpire": 86_400,
        },
        "Rank": 0,
    });
    let url = BTreeMap::from([("altCatalogId".to_owned(), format!("http://{HOST}{path}"))]);
    vec![
        Expectation { fields: url, reply: scripted(200, known), ..Expectation::any(Service::ContentPolicy) },
        Expectation {
            reply: scripted(404, json!({"error": "unknown"})),
            ..Expectation::any(Service::ContentPolicy)
        },
        Expectation::any(Service::Geo),
        Expectation::any(Service::KeyValue),
        Expectation::any(Service::Discovery),
        Expectation::any(Service::Array),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_bytes_that_the_origin_sends() {
        let (content, path, length) = (Content::new(), "/o/2500000/a", 2_500_000_u64);
        let file = hashes(&content, path, length).unwrap();
        assert_eq!((file.content_length_bytes(), file.piece_count()), (length, 3));
        let piece = |number: u64, length| content.run(Shift::of(path), number << 20, length).to_vec();
        assert!(file.is_piece(0, &piece(0, 1 << 20)));
        assert!(file.is_piece(2, &piece(2, length - (2 << 20))));
        assert!(!file.is_piece(1, &piece(0, 1 << 20)));
    }

    #[test]
    fn the_mock_vouches_for_one_content_by_its_original_address() {
        let file = hashes(&Content::new(), "/o/1/a", 1).unwrap();
        let expectations = expectations("/o/1/a", &file);
        assert_eq!(expectations[0].fields["altCatalogId"], format!("http://{HOST}/o/1/a"));
        let reply = expectations[0].reply.as_ref().unwrap();
        assert_eq!(reply.json["HashOfHashes"], file.hash_of_hashes().to_base64());
        assert_eq!(expectations[1].reply.as_ref().unwrap().status, 404);
    }
}
