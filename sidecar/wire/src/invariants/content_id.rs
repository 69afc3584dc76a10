use crate::delivery_optimization::{ContentId, ContentIdForm};

/// Any text as a content id.
///
/// # Panics
/// When an invariant does not hold.
pub fn content_id(text: &str) {
    let Ok(id) = ContentId::parse(text) else { return };
    assert!(text.len() <= ContentId::MAX_BYTES);
    assert_eq!(id.to_string(), text, "an id keeps its spelling");
    // It goes into the path of a URL.
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=')));
    if let ContentIdForm::HashOfHashes(hash) = id.form() {
        assert_eq!(ContentId::from_hash_of_hashes(hash), id, "one hash, one id");
    }
}
