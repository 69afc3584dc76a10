//! Configuration of the mock: what it listens on, what it offers, which faults it starts with.
//!
//! It reads YAML (or JSON, which is YAML), names every key it does not know by its full path, and reports all
//! mistakes of a file at once. The same fault entries are accepted by `PUT /_faults` while the mock runs.

mod control_plane;
mod decode;
mod fault;
mod size;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::control_plane::Expectation;
use crate::fault::Fault;
pub use control_plane::{
    Array, ContentEntry, ContentPolicy, ControlPlane, Discovery, ExternalAddress, Geo, KeyValue, ListedPeer,
    Restriction, SharingPolicy,
};
use decode::Section;
pub use size::{ParseSizeError, parse_size};

/// Paths that start with this belong to the mock itself and are never content.
pub(crate) const RESERVED_PREFIX: &str = "/_";

/// Everything the mock can be told. The default offers nothing on a free loopback port.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Addresses to accept connections on.
    pub listen: Listen,
    /// Certificate of the HTTPS listener.
    pub tls: Tls,
    /// The objects that can be asked for.
    pub content: Content,
    /// The services of the control plane, at the HTTPS listener; `None` = off.
    pub control_plane: Option<ControlPlane>,
    /// Faults in effect from the start; the first one that matches a path wins.
    pub faults: Vec<Fault>,
    /// File that gets one JSON line per finished request; `None` = only `/_requests`.
    pub request_log: Option<PathBuf>,
}

/// Addresses to accept connections on; port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listen {
    /// Plain HTTP; `None` = off.
    pub http: Option<SocketAddr>,
    /// HTTPS; `None` = off.
    pub https: Option<SocketAddr>,
}

/// Certificate of the HTTPS listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// PEM file with the certificate chain; `None` = an own CA signs a certificate for whatever name is asked for.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of `cert`.
    pub key: Option<PathBuf>,
    /// File the own CA's certificate is written to, for clients that must trust it.
    pub ca_file: Option<PathBuf>,
}

/// The objects that can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    /// Folder whose files are offered at their relative paths.
    pub folder: Option<PathBuf>,
    /// Objects computed while they are sent. A formula wins over a file of the same path.
    pub formulas: Vec<FormulaObject>,
}

/// An object that exists only as a formula; see [`crate::content::formula`] for the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FormulaObject {
    /// Path it is offered at, for instance `/formula/big`.
    pub path: String,
    /// Length in bytes.
    #[serde(rename = "length")]
    pub length_bytes: u64,
    /// Seed of its bytes: equal seeds and lengths are equal objects.
    pub seed: u64,
}

impl Default for Listen {
    fn default() -> Self {
        Self { http: Some(SocketAddr::from(([127, 0, 0, 1], 0))), https: None }
    }
}

/// Everything wrong with a configuration or a fault list, one full path and sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configuration refused: {}", errors.join("; "))]
pub struct ConfigError {
    /// At least one message.
    pub errors: Vec<String>,
}

impl Config {
    /// Reads a whole configuration from YAML text.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let value: Value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str(text)
                .map_err(|error| ConfigError { errors: vec![format!("not readable as YAML: {error}")] })?
        };
        let mut errors = Vec::new();
        let config = Self::decode(value, &mut errors);
        config.check(&mut errors);
        if errors.is_empty() { Ok(config) } else { Err(ConfigError { errors }) }
    }

    /// Checks a configuration that was built in code; the same rules hold for one read from a file.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut errors = Vec::new();
        self.check(&mut errors);
        if errors.is_empty() { Ok(()) } else { Err(ConfigError { errors }) }
    }

    fn decode(value: Value, errors: &mut Vec<String>) -> Self {
        let mut root = Section::open(String::new(), value, errors);
        let listen = root
            .section("listen", |section| Listen { http: section.take("http"), https: section.take("https") });
        let tls = root.section("tls", |section| Tls {
            cert: section.take("cert"),
            key: section.take("key"),
            ca_file: section.take("caFile"),
        });
        let content = root.section("content", |section| Content {
            folder: section.take("folder"),
            formulas: section.list("formulas", |entry| FormulaObject {
                path: entry.required("path"),
                length_bytes: entry.required::<size::Size>("length").0,
                seed: entry.take::<Option<u64>>("seed").unwrap_or_default(),
            }),
        });
        let control_plane = root.optional_section("controlPlane", control_plane::decode);
        let faults = root.list("faults", fault::decode);
        let request_log = root.take("requestLog");
        root.finish();
        Self { listen, tls, content, control_plane, faults, request_log }
    }

    fn check(&self, errors: &mut Vec<String>) {
        let off = self.listen.http.is_none() && self.listen.https.is_none();
        if off && !reported(errors, "listen.") {
            errors.push("listen: both listeners are off, set http or https to an address".to_owned());
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            errors.push("tls: cert and key belong together, set both or neither".to_owned());
        }
        if self.tls.cert.is_some() && self.tls.ca_file.is_some() {
            errors.push(
                "tls.caFile: only an own CA is written to a file, remove it or remove tls.cert".to_owned(),
            );
        }
        for (index, formula) in self.content.formulas.iter().enumerate() {
            let at = format!("content.formulas[{index}].path");
            check_content_path(&at, &formula.path, errors);
            if self.content.formulas[..index].iter().any(|earlier| earlier.path == formula.path) {
                errors
                    .push(format!("{at}: {:?} is there twice, give each formula its own path", formula.path));
            }
        }
        if let Some(services) = &self.control_plane {
            if self.listen.https.is_none() && !reported(errors, "listen.") {
                errors
                    .push("controlPlane: its services need HTTPS, set listen.https to an address".to_owned());
            }
            control_plane::check(services, "controlPlane", errors);
        } else {
            fault::check_without_services(&self.faults, "faults", errors);
        }
        fault::check(&self.faults, "faults", errors);
    }
}

/// Reads a fault list from JSON, as `PUT /_faults` gets it: the list itself, or `{"faults": [...]}`.
pub fn faults_from_json(text: &[u8]) -> Result<Vec<Fault>, ConfigError> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| ConfigError { errors: vec![format!("not readable as JSON: {error}")] })?;
    let value = if value.is_array() { serde_json::json!({ "faults": value }) } else { value };
    let mut errors = Vec::new();
    let mut root = Section::open(String::new(), value, &mut errors);
    let faults = root.list("faults", fault::decode);
    root.finish();
    fault::check(&faults, "faults", &mut errors);
    if errors.is_empty() { Ok(faults) } else { Err(ConfigError { errors }) }
}

/// Checks a fault list that was built in code.
pub(crate) fn validate_faults(faults: &[Fault], has_services: bool) -> Result<(), ConfigError> {
    let mut errors = Vec::new();
    fault::check(faults, "faults", &mut errors);
    if !has_services {
        fault::check_without_services(faults, "faults", &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigError { errors }) }
}

/// Reads a list of expectations from JSON, as `PUT /_expectations` gets it; `null` expects anything.
pub(crate) fn expectations_from_json(text: &[u8]) -> Result<Option<Vec<Expectation>>, ConfigError> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| ConfigError { errors: vec![format!("not readable as JSON: {error}")] })?;
    let mut errors = Vec::new();
    let mut root = Section::open(String::new(), serde_json::json!({ "expectations": value }), &mut errors);
    let expectations = root.optional_list("expectations", control_plane::decode_expectation);
    root.finish();
    control_plane::check_expectations(
        expectations.as_deref().unwrap_or_default(),
        "expectations",
        &mut errors,
    );
    if errors.is_empty() { Ok(expectations) } else { Err(ConfigError { errors }) }
}

/// Checks expectations that were built in code.
pub(crate) fn validate_expectations(expectations: Option<&[Expectation]>) -> Result<(), ConfigError> {
    let mut errors = Vec::new();
    control_plane::check_expectations(expectations.unwrap_or_default(), "expectations", &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(ConfigError { errors }) }
}

/// Whether something at or below `path` was found unusable, so that what stands there now means nothing.
fn reported(errors: &[String], path: &str) -> bool {
    errors.iter().any(|error| error.starts_with(path))
}

fn check_content_path(at: &str, path: &str, errors: &mut Vec<String>) {
    if reported(errors, at) {
        return;
    }
    if !path.starts_with('/') {
        errors.push(format!("{at}: {path:?} must start with a slash"));
    } else if path.starts_with(RESERVED_PREFIX) {
        errors.push(format!("{at}: {path:?} is reserved for the mock itself, choose another first letter"));
    } else if path.contains(['?', '#']) {
        errors.push(format!("{at}: {path:?} must be a path without query or fragment"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_is_read_key_by_key() {
        let config = Config::from_yaml(
            "listen: {http: \"0.0.0.0:8081\", https: \"[::1]:8443\"}\n\
             tls: {cert: null, key: null, caFile: /tmp/ca.pem}\n\
             content:\n  folder: /srv\n  formulas: [{path: \"/formula/big\", length: \"64Mi\", seed: 7}]\n\
             faults: [{path: \"/x*\", status: 503, retryAfterSeconds: 7, delayMilliseconds: 20, stallAfterBytes: 1, cutAfterBytes: 2,\
             corruptByte: 3, corruptPiece: 6, trickleBytesPerSecond: 4Ki, times: 5}]\n\
             requestLog: /tmp/requests.jsonl\n",
        )
        .unwrap();
        assert_eq!(config.listen.http, Some("0.0.0.0:8081".parse().unwrap()));
        assert_eq!(config.listen.https, Some("[::1]:8443".parse().unwrap()));
        assert_eq!(config.tls.ca_file, Some(PathBuf::from("/tmp/ca.pem")));
        assert_eq!(config.content.folder, Some(PathBuf::from("/srv")));
        assert_eq!(
            config.content.formulas,
            vec![FormulaObject { path: "/formula/big".to_owned(), length_bytes: 67_108_864, seed: 7 }]
        );
        assert_eq!(
            config.faults,
            vec![Fault {
                path: "/x*".to_owned(),
                service: None,
                status: Some(503),
                retry_after_seconds: Some(7),
                delay_milliseconds: 20,
                stall_after_bytes: Some(1),
                cut_after_bytes: Some(2),
                corrupt_byte: Some(3),
                corrupt_piece: Some(6),
                answer: None,
                trickle_bytes_per_second: Some(4096),
                times: Some(5),
            }]
        );
        assert_eq!(config.request_log, Some(PathBuf::from("/tmp/requests.jsonl")));
    }

    #[test]
    fn the_example_of_the_documentation_is_accepted() {
        let documentation: String = include_str!("lib.rs")
            .lines()
            .skip_while(|line| *line != "//! ```yaml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| [line.strip_prefix("//! ").unwrap_or_default(), "\n"].concat())
            .collect();
        let config = Config::from_yaml(&documentation).unwrap();
        assert_eq!(config.faults.len(), 3);
        let services = config.control_plane.unwrap();
        assert_eq!(services.array.peers.len(), 1);
        // What it shows as null or as a value that needs no word is the default.
        let Geo { external_addresses, .. } = &services.geo;
        let geo = Geo { external_addresses: external_addresses.clone(), ..Geo::default() };
        assert_eq!(services.geo, geo);
        assert_eq!(services.key_value, KeyValue::default());
        assert_eq!(services.content_policy, ContentPolicy::default());
        assert_eq!(services.array, Array { peers: services.array.peers.clone(), ..Array::default() });
    }

    #[test]
    fn every_mistake_is_reported_with_its_full_path() {
        let error = Config::from_yaml(
            "listen: {http: nonsense, htps: null}\n\
             contents: {}\n\
             content: {formulas: [{path: a, length: 1Q}, {length: 1, path: /_x, sed: 1}]}\n\
             faults: [{path: /x, status: 99, trickleBytesPerSecond: 0}]\n",
        )
        .unwrap_err();
        let all = error.errors.join("\n");
        for expected in [
            "listen.http:",
            "listen.htps:",
            "contents:",
            "content.formulas[0].path:",
            "content.formulas[0].length:",
            "content.formulas[1].path:",
            "content.formulas[1].sed:",
            "faults[0].status:",
            "faults[0].trickleBytesPerSecond:",
        ] {
            assert!(all.lines().any(|line| line.starts_with(expected)), "{expected} is missing in\n{all}");
        }
        assert_eq!(error.errors.len(), 9, "{all}");
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::from_yaml("").unwrap(), Config::default());
        assert_eq!(Config::from_yaml("listen:\n").unwrap(), Config::default());
    }

    #[test]
    fn a_fault_list_is_read_bare_and_wrapped() {
        let bare = faults_from_json(br#"[{"path": "/a", "times": 1}]"#).unwrap();
        let wrapped = faults_from_json(br#"{"faults": [{"path": "/a", "times": 1}]}"#).unwrap();
        assert_eq!(bare, wrapped);
        assert_eq!(bare[0].times, Some(1));
        let error = faults_from_json(br#"[{"path": "/a", "tiems": 1}]"#).unwrap_err();
        assert!(error.errors[0].starts_with("faults[0].tiems:"), "{error}");
    }
}
