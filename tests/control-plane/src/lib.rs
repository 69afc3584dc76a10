//! Everything outside the cache that a test needs: an origin with content, the services of the control plane, faults
//! and a request log, and a client that asks as Windows does. It is a second, independent reading of the protocol; of
//! our own code it uses the formats of `wire` and nothing of the sidecar.
//!
//! [`MockControlPlane`] serves, in a test's own process or as the binary's `serve`; [`client`] asks, in a test or as
//! the binary's `fetch`. The binary's `phf FILE` makes a piece hash file, and `verify FILE PHF` checks content by one.
//!
//! # Configuration
//! ```yaml
//! listen: {http: "0.0.0.0:8081", https: "0.0.0.0:8444"}   # null = off, port 0 = a free one
//! tls: {cert: null, key: null, caFile: null}      # no cert with https on = own CA, written to caFile, served at /_ca
//! content:
//!   folder: /srv/content                          # every file below it, at its relative path
//!   formulas: [{path: "/formula/big", length: "64Mi", seed: 7}]   # bytes: see content::formula
//! controlPlane:                                   # null = off; needs listen.https; {} = everything works
//!   baseUrl: null                                 # in answers; null = https:// and the Host that was asked
//!   strict: true                                  # documented fields must be there, undocumented ones are refused
//!   geo: {countryCode: DE, version: 26A6D4D6994E8DA5, cacheId: "7", cacheHost: null, cacheHostFlag: 0,
//!         externalAddresses: [{source: 127.0.0.2, external: 203.0.113.7}]}      # source null = everybody
//!   keyValue: {registeredCallers: ["WU Client Download", "BeginLoadRange.*"], maxAgeSeconds: 86400}
//!   contentPolicy: {foregroundQosBytesPerSecond: 6710886, backgroundQosBytesPerSecond: 2621440,
//!                   maxCacheAgeSeconds: 86400, downloadToExpireSeconds: 86400}
//!   contents: [{path: "/big.iso", contentId: null, policy: Allowed, hashesOf: null}]   # Allowed | Forbidden | Unknown
//!   discovery: {arrays: 1}
//!   array: {nextJoinSeconds: 300, restrictPeerSelectionBy: None, peerPort: 7680, leaveEvent: null,   # None | Subnet
//!           peers: [{content: null, peerId: e08e8e26fd833d4097b3a62b66adc67b00000000, ip: 192.0.2.10, port: 7680,
//!                    left: 0}]}
//!   expectations:                                 # null = anything; a list = every other call is refused with 501
//!     - {service: ContentPolicy, contentId: null, path: null, fields: {profile: "768"}, times: 1,
//!        reply: {status: 200, json: {}}}          # reply null = the service answers
//! faults:                                         # the first match applies; see fault::Fault
//!   - {path: "/formula/*", status: 503, times: 2}
//!   - {path: "/big.iso", delayMilliseconds: 500, cutAfterBytes: "1Mi", corruptPiece: 2}
//!   - {service: PieceHashFile, answer: WrongPieceCount}
//! requestLog: null                                # file for one JSON line per finished request
//! ```
//! Unknown keys are refused by their full path, and all mistakes are reported together.
//!
//! # Paths of its own
//! | path | |
//! |---|---|
//! | `GET /_healthz` | `ok` |
//! | `GET /_ca` | PEM of the own CA |
//! | `GET /_manifest` | `[{path, length, sha256}]` of all objects |
//! | `GET /_requests`, `DELETE /_requests` | the request log with totals; empties it |
//! | `GET /_faults`, `PUT /_faults` | the faults with the remaining `times`; replaces the list |
//! | `GET /_arrays` | joins with all that was sent, and the peers that are listed now |
//! | `GET /_expectations`, `PUT /_expectations` | the expectations with the remaining `times`; replaces the list |
//!
//! # Services
//! All but piece hash files are served over HTTPS only, as `text/json`. `/geo` is where a caller begins; it takes all
//! other addresses from the answers. A call that contradicts the documentation is refused with `{"error": …}`, and the
//! same sentence stands in the request log as `refusal`. The piece hash file of an object is at its path with
//! `/pieceshash` or `.phf` behind it, unless the folder has a file there. `hashesOf` names another object whose hashes
//! are told in place of an object's own, so that every one of them is wrong and the file that holds them is authentic.
//!
//! # Content
//! Single ranges are exact (206, 416), several ranges or unreadable ones get 200 and everything. `ETag` is strong,
//! `If-None-Match`, `If-Modified-Since` and `If-Range` are honoured. The query of a request is ignored but logged.

pub mod client;
mod config;
pub mod content;
pub mod control_plane;
mod fault;
mod http1;
pub mod range;
mod request_log;
mod server;
mod tls;

pub use config::{
    Array, Config, ConfigError, Content, ContentEntry, ContentPolicy, ControlPlane, Discovery,
    ExternalAddress, FormulaObject, Geo, KeyValue, ListedPeer, Listen, ParseSizeError, Restriction,
    SharingPolicy, Tls, faults_from_json, parse_size,
};
pub use content::ManifestEntry;
pub use fault::Fault;
pub use http1::HeadError;
pub use request_log::{RequestRecord, RequestTotals, Requests};
pub use server::{MockControlPlane, StartError};
pub use tls::TlsError;
