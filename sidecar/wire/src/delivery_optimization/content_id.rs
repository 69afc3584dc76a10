//! Content ids, by which the control plane knows content (dossier delivery-optimization 2.4).

use std::fmt;
use std::sync::Arc;

use super::{HashOfHashes, NotADigest};

/// A content id in one of the forms that have been seen. It keeps its spelling: how services compare ids is not known. A
/// clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentId {
    text: Arc<str>,
    form: ContentIdForm,
}

/// What a content id is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentIdForm {
    /// 40 hexadecimal digits, as Windows Update's content has: the SHA-1 of the file, as far as anybody has seen.
    Sha1([u8; 20]),
    /// Four GUIDs joined by `_`, `-intunewin-bin_`, a GUID, `_` and a number, which was 1 wherever it has been seen. It holds
    /// metadata of tenant and application; which GUID is which is not known.
    Intune,
    /// `DO-` and the [`HashOfHashes`]: the id that ContentPolicy answers with.
    HashOfHashes(HashOfHashes),
}

/// Why a text is no content id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentIdError {
    /// Nothing. Intune's content is only found by its id, so this never stands for one.
    #[error("an empty content id; leave it out to ask by URL alone")]
    Empty,
    /// Above [`ContentId::MAX_BYTES`].
    #[error("a content id of {bytes} bytes, longer than any known form")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// `DO-` with something else than a hash behind it.
    #[error(
        "a content id that begins with DO-, but not with the base64 of 32 bytes (- for /, _ for +) behind it"
    )]
    BadHashOfHashes,
    /// `-intunewin-bin_` between other things than GUIDs and a number.
    #[error(
        "a content id with -intunewin-bin_, but not of the form GUID_GUID_GUID_GUID-intunewin-bin_GUID_NUMBER"
    )]
    BadIntune,
    /// None of the known forms.
    #[error(
        "a content id of an unknown form: known are 40 hexadecimal digits, Intune's GUID_GUID_GUID_GUID-intunewin-bin_GUID_1, and DO-HASHOFHASHES"
    )]
    UnknownForm,
}

const HASH_OF_HASHES: &str = "DO-";
const INTUNE: &str = "-intunewin-bin_";

impl ContentId {
    /// Length of the longest form, Intune's with a number of ten digits.
    pub const MAX_BYTES: usize = 5 * GUID_LENGTH + 3 + INTUNE.len() + 1 + MAX_NUMBER_LENGTH;

    /// Reads an id that is not percent-encoded. White space around it is not taken off.
    pub fn parse(text: &str) -> Result<Self, ContentIdError> {
        if text.is_empty() {
            return Err(ContentIdError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(ContentIdError::TooLong { bytes: text.len() });
        }
        let form = if let Some(hash) = text.strip_prefix(HASH_OF_HASHES) {
            let hash = read_hash_of_hashes(hash).map_err(|_| ContentIdError::BadHashOfHashes)?;
            ContentIdForm::HashOfHashes(hash)
        } else if let Some((content, instance)) = text.split_once(INTUNE) {
            read_intune(content, instance).ok_or(ContentIdError::BadIntune)?;
            ContentIdForm::Intune
        } else {
            let mut sha1 = [0; 20];
            hex::decode_to_slice(text, &mut sha1).map_err(|_| ContentIdError::UnknownForm)?;
            ContentIdForm::Sha1(sha1)
        };
        Ok(Self { text: text.into(), form })
    }

    /// The canonical id of content with this hash: `DO-` and its base64, with `-` for `/` and `_` for `+`, `=` kept. Of these
    /// only `/` has been seen in a real id.
    #[must_use]
    pub fn from_hash_of_hashes(hash: HashOfHashes) -> Self {
        let text = format!("{HASH_OF_HASHES}{}", hash.to_base64().replace('/', "-").replace('+', "_"));
        Self { text: text.into(), form: ContentIdForm::HashOfHashes(hash) }
    }

    /// The id as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is made of.
    #[must_use]
    pub const fn form(&self) -> ContentIdForm {
        self.form
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::str::FromStr for ContentId {
    type Err = ContentIdError;

    fn from_str(text: &str) -> Result<Self, ContentIdError> {
        Self::parse(text)
    }
}

/// The base64 whose `/` is written `-` and whose `+` is written `_`: the other way round than URL-safe base64 has them.
fn read_hash_of_hashes(text: &str) -> Result<HashOfHashes, NotADigest> {
    // One id, one spelling.
    if text.contains(['/', '+']) {
        return Err(NotADigest::Base64);
    }
    HashOfHashes::from_base64(&text.replace('-', "/").replace('_', "+"))
}

fn read_intune(content: &str, instance: &str) -> Option<()> {
    let (guid, number) = instance.rsplit_once('_')?;
    let is_number =
        (1..=MAX_NUMBER_LENGTH).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let guids = content.split('_').filter(|guid| is_guid(guid)).count();
    (is_number && is_guid(guid) && guids == 4 && content.split('_').count() == 4).then_some(())
}

const GUID_LENGTH: usize = 36;
const MAX_NUMBER_LENGTH: usize = 10;

/// 8, 4, 4, 4 and 12 hexadecimal digits of either case.
fn is_guid(text: &str) -> bool {
    text.len() == GUID_LENGTH
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests;
