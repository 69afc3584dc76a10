//! What we say of ourselves to the services, and how their URLs are made (dossier delivery-optimization 2.2 to 2.7).

use connected_cache_config::{ArrayScope, Config};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What stands for the content id in templates.
const CONTENT_ID: &str = "{contentId}";

/// The same in all calls.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// `doClientVersion`.
    pub(super) client_version: String,
    /// The four numbers of it.
    pub(super) dialect: [u32; 4],
    pub(super) profile: u32,
    pub(super) e_id: Option<String>,
    /// Only with the scope Group.
    pub(super) group_id: Option<String>,
}

impl Identity {
    /// `None` = `clientVersion` is not four numbers, which validation refuses.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let control_plane = &config.control_plane;
        let numbers: Vec<u32> =
            control_plane.client_version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let join = &config.sharing.array_join;
        Some(Self {
            client_version: control_plane.client_version.clone(),
            dialect: numbers.try_into().ok()?,
            profile: control_plane.profile,
            e_id: control_plane.e_id.clone().filter(|id| !id.is_empty()),
            group_id: join.group_id.clone().filter(|_| join.scope == ArrayScope::Group),
        })
    }

    /// The fields that every query has.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        vec![("doClientVersion", self.client_version.clone()), ("profile", self.profile.to_string())]
    }

    /// `eId` where one is configured.
    pub(super) fn e_id_field(&self) -> Option<(&'static str, String)> {
        Some(("eId", self.e_id.clone()?))
    }
}

/// The URL with these fields behind what its query holds.
pub(super) fn with_query(url: &Url, fields: &[(&'static str, String)]) -> Url {
    let mut query = url.query().unwrap_or_default().to_owned();
    for (name, value) in fields {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        query.extend(utf8_percent_encode(value, ENCODED));
    }
    let mut url = url.clone();
    url.set_query(Some(&query));
    url.set_fragment(None);
    url
}

/// The URL of a template with this content id, percent-encoded, in the place that is kept for it. `None` = it has no such place
/// or is no URL.
pub(super) fn fill(template: &str, content_id: &str) -> Option<Url> {
    if !template.contains(CONTENT_ID) {
        return None;
    }
    Url::parse(&template.replace(CONTENT_ID, &encoded(content_id))).ok()
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_appended_percent_encoded() {
        let url = "https://a.example/x?have=1#part".parse().unwrap();
        let fields =
            [("altCatalogId", "http://b.example/y?P1=1&P4=a%2fb+c".to_owned()), ("eId", "é".to_owned())];
        assert_eq!(
            with_query(&url, &fields).as_str(),
            "https://a.example/x?have=1&altCatalogId=http%3A%2F%2Fb.example%2Fy%3FP1%3D1%26P4%3Da%252fb%2Bc&eId=%C3%A9"
        );
    }

    #[test]
    fn templates_get_the_encoded_id_and_nothing_else() {
        let id = "DO-0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
        let filled = fill("https://a.example/x/{contentId}/y?z=1", id).unwrap();
        assert_eq!(
            filled.as_str(),
            "https://a.example/x/DO-0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M%3D/y?z=1"
        );
        assert_eq!(fill("https://a.example/{contentId}", "a/../b").unwrap().path(), "/a%2F..%2Fb");
        assert!(fill("https://a.example/x", id).is_none());
        assert!(fill("{contentId}", id).is_none());
    }

    #[test]
    fn the_group_is_told_with_its_scope_only() {
        let mut config = Config::default();
        config.sharing.array_join.group_id = Some("5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f".to_owned());
        assert_eq!(Identity::new(&config).unwrap().group_id, None);
        config.sharing.array_join.scope = ArrayScope::Group;
        let identity = Identity::new(&config).unwrap();
        assert_eq!(identity.group_id.as_deref(), Some("5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f"));
        assert_eq!(identity.dialect, [10, 1, 0, 13]);
        config.control_plane.client_version = "10.1.0".to_owned();
        assert!(Identity::new(&config).is_none());
    }
}
