//! ContentPolicy: whether a content may be shared, the hash that authenticates its piece hash file, and where that is.

use serde_json::json;

use super::fields::{Field, Kind, optional, required};
use super::known_content::KnownContent;
use super::{Call, Refusal, Reply, Service};
use crate::config::{ControlPlane, SharingPolicy};
use crate::http1::encode_path;

const FIELDS: [Field; 8] = [
    required("profile", Kind::Number),
    required("doClientVersion", Kind::Version),
    required("countryCode", Kind::Country),
    optional("ContentId", Kind::Text),
    optional("altCatalogId", Kind::Url),
    optional("eId", Kind::Text),
    optional("CacheHost", Kind::Text),
    optional("CacheId", Kind::Text),
];

pub(super) async fn answer(
    config: &ControlPlane,
    content: &KnownContent,
    call: &Call<'_>,
    content_id: &str,
) -> Result<Reply, Refusal> {
    call.fields.check(Service::ContentPolicy, &FIELDS, config.strict)?;
    config.same_country(Service::ContentPolicy, &call.fields)?;
    let url = call.fields.get("altCatalogId");
    let path = content.path(Some(content_id), url).await?;
    let policy = path.as_ref().map_or(SharingPolicy::Unknown, |path| content.policy(path));
    let path = match (path, policy) {
        (Some(path), SharingPolicy::Allowed) => path,
        (_, SharingPolicy::Forbidden) => {
            return Err(Refusal::new(403, "ContentPolicy: this content may not be shared"));
        }
        _ => {
            let reason =
                format!("ContentPolicy: neither {content_id:?} nor altCatalogId names known content");
            return Err(Refusal::new(404, reason));
        }
    };
    let hash_of_hashes = content.piece_hash_file(&path).await?.hash_of_hashes().to_base64();
    let canonical = canonical_id(&hash_of_hashes);
    content.remember(&canonical, &path);
    let limits = &config.content_policy;
    Ok(Reply::ok(json!({
        "ContentId": canonical,
        "HashOfHashes": hash_of_hashes,
        "PiecesHashFileCdnUrls": [piece_hash_file_url(url, &call.asked, &path)],
        "ContentCdnUrls": null,
        "IsSecure": false,
        "IsInternal": false,
        "Policies": {
            "ForegroundQosBps": limits.foreground_qos_bytes_per_second,
            "BackgroundQosBps": limits.background_qos_bytes_per_second,
            "MaxCacheAgeSecs": limits.max_cache_age_seconds,
            "ExpireAtSecsSinceEpoch": null,
            "DownloadToExpire": limits.download_to_expire_seconds,
        },
        "Rank": 0,
    })))
}

/// The hash without the two letters of base64 that a path has its own use for.
fn canonical_id(hash_of_hashes: &str) -> String {
    format!("DO-{}", hash_of_hashes.replace('/', "-").replace('+', "_"))
}

/// Beside the content where the caller said where that is, else beside it at the mock itself.
fn piece_hash_file_url(url: Option<&str>, asked: &str, path: &str) -> String {
    let content = url.and_then(|url| url.split(['?', '#']).next()).map(str::to_owned);
    format!("{}/pieceshash", content.unwrap_or_else(|| format!("{asked}{}", encode_path(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_id_has_no_slash_and_no_plus() {
        assert_eq!(
            canonical_id("J/rmYNjGCeAgcDu0Y7ZgHmKBHcddsZl1vLfWjZWb+n0="),
            "DO-J-rmYNjGCeAgcDu0Y7ZgHmKBHcddsZl1vLfWjZWb_n0="
        );
    }
}
