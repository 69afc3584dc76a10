//! Everything outside the cache that a test needs: an origin with content, faults and a request log, and a client that
//! asks as Windows does. It is a second, independent reading of the protocol and shares no code with the sidecar.
//!
//! [`MockControlPlane`] serves, in a test's own process or as the binary's `serve`; [`client`] asks, in a test or as
//! the binary's `fetch`.
//!
//! # Configuration
//! ```yaml
//! listen: {http: "0.0.0.0:8081", https: null}     # null = off, port 0 = a free one
//! tls: {cert: null, key: null, caFile: null}      # no cert with https on = own CA, written to caFile, served at /_ca
//! content:
//!   folder: /srv/content                          # every file below it, at its relative path
//!   formulas: [{path: "/formula/big", length: "64Mi", seed: 7}]   # bytes: see content::formula
//! faults:                                         # the first match applies; see fault::Fault
//!   - {path: "/formula/*", status: 503, times: 2}
//!   - {path: "/big.iso", delayMilliseconds: 500, cutAfterBytes: "1Mi"}
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
//!
//! # Content
//! Single ranges are exact (206, 416), several ranges or unreadable ones get 200 and everything. `ETag` is strong,
//! `If-None-Match`, `If-Modified-Since` and `If-Range` are honoured. The query of a request is ignored but logged.

pub mod client;
mod config;
pub mod content;
mod fault;
mod http1;
pub mod range;
mod request_log;
mod server;
mod tls;

pub use config::{
    Config, ConfigError, Content, FormulaObject, Listen, ParseSizeError, Tls, faults_from_json, parse_size,
};
pub use content::ManifestEntry;
pub use fault::Fault;
pub use http1::HeadError;
pub use request_log::{RequestRecord, RequestTotals, Requests};
pub use server::{MockControlPlane, StartError};
pub use tls::TlsError;
