//! Which service a request is for. The paths are this mock's choice wherever the protocol lets the services choose:
//! a client must take them from the earlier answers.

use super::Service;
use crate::http1::decode_path;

/// Path that KeyValue is announced at.
pub(super) const KEY_VALUE_PATH: &str = "/all";
/// What an object's path is followed by where its piece hash file is; the second form is that of Intune.
const PIECE_HASH_FILE_SUFFIXES: [&str; 2] = ["/pieceshash", ".phf"];

/// A request's service with what its path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Geo,
    GeoVersion,
    KeyValue,
    ContentPolicy {
        content_id: String,
    },
    Discovery {
        content_id: String,
    },
    Join {
        array_id: String,
    },
    /// `object` is the path of the content.
    PieceHashFile {
        object: String,
    },
}

impl Route {
    pub(crate) fn service(&self) -> Service {
        match self {
            Self::Geo | Self::GeoVersion => Service::Geo,
            Self::KeyValue => Service::KeyValue,
            Self::ContentPolicy { .. } => Service::ContentPolicy,
            Self::Discovery { .. } => Service::Discovery,
            Self::Join { .. } => Service::Array,
            Self::PieceHashFile { .. } => Service::PieceHashFile,
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        if matches!(self, Self::Join { .. }) { "POST" } else { "GET" }
    }
}

/// The service that `path` (without query, still percent-encoded) belongs to; `None` = content.
pub(crate) fn route(path: &str) -> Option<Route> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match parts[..] {
        ["geo"] => Some(Route::Geo),
        ["geoversion"] => Some(Route::GeoVersion),
        ["all"] => Some(Route::KeyValue),
        ["content", id, "contentpolicy"] if !id.is_empty() => {
            Some(Route::ContentPolicy { content_id: decode_path(id)? })
        }
        ["disc", "v2", "content", id] if !id.is_empty() => {
            Some(Route::Discovery { content_id: decode_path(id)? })
        }
        ["c", array, "join", ""] => Some(Route::Join { array_id: array.to_owned() }),
        _ => {
            let decoded = decode_path(path)?;
            let object = PIECE_HASH_FILE_SUFFIXES.iter().find_map(|suffix| decoded.strip_suffix(suffix))?;
            Some(Route::PieceHashFile { object: object.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_hold_encoded_slashes() {
        assert_eq!(
            route("/content/a%2Fb%3D/contentpolicy"),
            Some(Route::ContentPolicy { content_id: "a/b=".to_owned() })
        );
        assert_eq!(route("/content/a/b/contentpolicy"), None);
        assert_eq!(route("/content//contentpolicy"), None);
    }

    #[test]
    fn a_join_ends_with_a_slash() {
        assert_eq!(route("/c/7f3a/join/"), Some(Route::Join { array_id: "7f3a".to_owned() }));
        assert_eq!(route("/c/7f3a/join"), None);
    }

    #[test]
    fn piece_hash_files_stand_beside_their_object() {
        for path in ["/a/b%20c/pieceshash", "/a/b%20c.phf"] {
            assert_eq!(route(path), Some(Route::PieceHashFile { object: "/a/b c".to_owned() }), "{path}");
        }
        assert_eq!(route("/a/b"), None);
    }
}
