//! Checks that say more than "right bytes of one state": each can be switched off here, and nowhere else, as long as the
//! cache does not do what it asks for.

use super::Evidence;
use crate::object::Policy;

/// A check that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// `no-store`, `private`, `Vary: *`: a state that was replaced before the request is not served to it.
    NeverStored,
    /// `no-cache`: the same, because the cache has to ask first (RFC 9111 5.2.2.4).
    NoCacheIsRevalidated,
    /// `max-age=0`: the same, when the configuration allows nothing stale.
    StaleIsRevalidated,
    /// A client that has seen a state is never given an older one.
    NeverGoesBack,
    /// Content that was delivered whole, says `max-age=86400` and did not change is served while its origin fails.
    FreshContentNeedsNoOrigin,
    /// Content of several pieces without strong tag and date is delivered by an origin in order without a cut or a 5xx.
    NamelessContentIsWhole,
    /// A reply whose bytes run out early has a head all the same: the connection does not end without a word.
    EveryReplyHasAHead,
    /// A request inside the content is not answered 416 because one outside of it came at the same time.
    RangesOfOthersDoNotMatter,
}

/// On or off. Turning one on is all that has to be done once the cache complies.
const CHECKS: [(Check, bool); 8] = [
    (Check::NeverStored, true),
    (Check::NoCacheIsRevalidated, true),
    (Check::StaleIsRevalidated, true),
    (Check::NeverGoesBack, true),
    (Check::FreshContentNeedsNoOrigin, true),
    (Check::NamelessContentIsWhole, true),
    (Check::EveryReplyHasAHead, true),
    (Check::RangesOfOthersDoNotMatter, true),
];

pub(crate) fn is_in_force(check: Check) -> bool {
    CHECKS.contains(&(check, true))
}

/// Whether one of the states that a reply can be of is new enough.
pub(crate) fn check_age(evidence: &Evidence<'_>, generations: &[usize]) -> Result<(), String> {
    let Some(newest) = generations.iter().max().filter(|_| !evidence.has_mirrors) else { return Ok(()) };
    let must_be_present = match evidence.object.policy {
        Policy::NoStore | Policy::Private | Policy::VaryStar => is_in_force(Check::NeverStored),
        Policy::NoCache => is_in_force(Check::NoCacheIsRevalidated),
        Policy::MaxAgeZero => !evidence.allows_stale && is_in_force(Check::StaleIsRevalidated),
        Policy::Unsaid | Policy::MaxAge => false,
    };
    if must_be_present && *newest < evidence.present_when_asked {
        return Err(format!(
            "state {newest} of {:?} content, which state {} had replaced before the request",
            evidence.object.policy, evidence.present_when_asked
        ));
    }
    if *newest < evidence.newest_seen && is_in_force(Check::NeverGoesBack) {
        return Err(format!("state {newest} after state {} had been served", evidence.newest_seen));
    }
    Ok(())
}
