//! Scripted expectations: a test states which calls it expects, and every other call is refused.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Call, Refusal, Reply, Route, Service};

/// Status of a call that no expectation was left for.
const UNEXPECTED: u16 = 501;

/// A call that a test expects. The first one that matches and whose `times` is not used up counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// The service that is called.
    pub service: Service,
    /// Content id, of the path or of the join; `None` = any.
    pub content_id: Option<String>,
    /// Decoded path; `None` = any.
    pub path: Option<String>,
    /// Fields that must have exactly these values; others may be there too.
    pub fields: BTreeMap<String, String>,
    /// That many calls, and no more; `None` = any number.
    pub times: Option<u64>,
    /// Answer in place of the service's own.
    pub reply: Option<ScriptedReply>,
}

/// An answer that a test wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScriptedReply {
    /// Final status.
    pub status: u16,
    /// Body.
    pub json: Value,
}

impl Expectation {
    /// Any call of `service`, as often as it comes.
    #[must_use]
    pub fn any(service: Service) -> Self {
        Self { service, content_id: None, path: None, fields: BTreeMap::new(), times: None, reply: None }
    }

    fn matches(&self, call: &Call<'_>) -> bool {
        let content_id = match call.route {
            Route::ContentPolicy { content_id } | Route::Discovery { content_id } => {
                Some(content_id.as_str())
            }
            _ => call.fields.get("ContentId"),
        };
        self.service == call.route.service()
            && (self.content_id.is_none() || self.content_id.as_deref() == content_id)
            && self.path.as_ref().is_none_or(|path| path == call.path)
            && self.fields.iter().all(|(name, value)| call.fields.get(name).unwrap_or_default() == value)
    }
}

/// Uses up the expectation for this call.
pub(super) fn take(expectations: &mut [Expectation], call: &Call<'_>) -> Result<Option<Reply>, Refusal> {
    let service = call.route.service();
    let matching = expectations.iter_mut().filter(|expectation| expectation.matches(call));
    let mut seen = false;
    for expectation in matching {
        seen = true;
        if expectation.times == Some(0) {
            continue;
        }
        expectation.times = expectation.times.map(|times| times - 1);
        let scripted = expectation.reply.as_ref();
        return Ok(scripted.map(|reply| Reply {
            status: reply.status,
            json: reply.json.clone(),
            max_age_seconds: None,
        }));
    }
    let why = if seen { "was expected less often" } else { "was not expected" };
    Err(Refusal::new(UNEXPECTED, format!("this call of {service} {why}: {}", call.path)))
}
