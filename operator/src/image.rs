//! References to container images: parsed once, so that parts can be replaced without string surgery.

use std::{fmt, str::FromStr};

/// A container image: repository and either tag or digest, or both, in which case the digest decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// Registry and path, without tag.
    pub repository: String,
    /// Tag.
    pub tag: Option<String>,
    /// Digest, as `sha256:…`.
    pub digest: Option<String>,
}

/// Why a text is no image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseImageError {
    /// Nothing before the tag or digest.
    #[error("image `{0}` has no repository: write it as registry/repository:tag")]
    NoRepository(String),
    /// Neither tag nor digest: that would mean `latest`, which changes under a running cache.
    #[error("image `{0}` has neither tag nor digest: add one, as registry/repository:tag")]
    NoVersion(String),
}

impl ImageReference {
    /// What identifies the content: the digest where there is one, else the tag.
    #[must_use]
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or_default()
    }
}

impl FromStr for ImageReference {
    type Err = ParseImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match rest[name_start..].find(':') {
            Some(colon) => {
                let colon = name_start + colon;
                (&rest[..colon], Some(rest[colon + 1..].to_owned()))
            }
            None => (rest, None),
        };
        let tag = tag.filter(|tag| !tag.is_empty());
        let digest = digest.filter(|digest| !digest.is_empty());
        if repository.is_empty() || repository.ends_with('/') {
            return Err(ParseImageError::NoRepository(text.to_owned()));
        }
        if tag.is_none() && digest.is_none() {
            return Err(ParseImageError::NoVersion(text.to_owned()));
        }
        Ok(Self { repository: repository.to_owned(), tag, digest })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.repository)?;
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(formatter, "@{digest}"),
            (None, Some(tag)) => write!(formatter, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_the_registry_is_no_tag() {
        let image: ImageReference = "registry.example.edu:5000/team/sidecar:0.1.0".parse().expect("an image");
        assert_eq!(image.repository, "registry.example.edu:5000/team/sidecar");
        assert_eq!(image.tag.as_deref(), Some("0.1.0"));
        assert_eq!(
            "registry.example.edu:5000/team/sidecar".parse::<ImageReference>(),
            Err(ParseImageError::NoVersion("registry.example.edu:5000/team/sidecar".to_owned()))
        );
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let image: ImageReference = "localhost/sidecar:0.1.0@sha256:abc".parse().expect("an image");
        assert_eq!(image.version(), "sha256:abc");
        assert_eq!(image.to_string(), "localhost/sidecar@sha256:abc");
    }

    #[test]
    fn an_image_without_repository_is_refused() {
        for text in [":0.1.0", "", "registry/:0.1.0", "@sha256:abc"] {
            assert!(
                matches!(text.parse::<ImageReference>(), Err(ParseImageError::NoRepository(_))),
                "{text}"
            );
        }
    }
}
