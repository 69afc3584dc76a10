//! What happened in all histories together, to see that they test what they are meant to.

use std::{collections::BTreeMap, fmt};

use crate::{checker::Finding, client::End, plan::Step, visit::Exchange};

/// Everything that is counted; each has to happen in a run of full length.
const KINDS: [&str; 17] = [
    "whole content",
    "part of it",
    "unsatisfiable range",
    "answer to HEAD",
    "part by If-Range",
    "whole by If-Range",
    "served from the store",
    "partly from the store",
    "refusal of the origin passed on",
    "failure of the origin",
    "short body",
    "short body resumed",
    "client left",
    "state replaced",
    "fault set",
    "restart",
    "hit after a restart",
];

/// How often each kind of thing happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    requests: usize,
    counts: BTreeMap<&'static str, usize>,
    has_restarted: bool,
}

impl Tally {
    pub(crate) fn count_step(&mut self, step: &Step) {
        match step {
            Step::Replace { .. } => self.count("state replaced"),
            Step::Break { .. } => self.count("fault set"),
            Step::Restart => {
                self.has_restarted = true;
                self.count("restart");
            }
            _ => {}
        }
    }

    pub(crate) fn count_exchange(&mut self, exchange: &Exchange) {
        self.requests += 1;
        let (Ok(reply), Ok(finding)) = (&exchange.reply, &exchange.verdict) else { return };
        match finding {
            Finding::Content { .. } if exchange.question.is_head => self.count("answer to HEAD"),
            Finding::Content { is_part, .. } => {
                self.count(if *is_part { "part of it" } else { "whole content" });
                if exchange.question.if_range.is_some() {
                    self.count(if *is_part { "part by If-Range" } else { "whole by If-Range" });
                }
                if exchange.is_resumption && *is_part && reply.end == End::Whole {
                    self.count("short body resumed");
                }
            }
            Finding::Unsatisfiable => self.count("unsatisfiable range"),
            Finding::Refused(_) => self.count("refusal of the origin passed on"),
            Finding::Failed(_) => self.count("failure of the origin"),
            // Not each cache does these.
            Finding::NotModified | Finding::NoReply => {}
        }
        match reply.end {
            End::Cut => self.count("short body"),
            End::Left => self.count("client left"),
            End::Whole => {}
        }
        match reply.value("x-cache") {
            Some("HIT") => {
                self.count("served from the store");
                if self.has_restarted {
                    self.count("hit after a restart");
                }
            }
            Some("PARTIAL") => self.count("partly from the store"),
            _ => {}
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        for (kind, count) in &other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
    }

    /// What never happened.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        KINDS.into_iter().filter(|kind| !self.counts.contains_key(kind)).collect()
    }

    fn count(&mut self, kind: &'static str) {
        debug_assert!(KINDS.contains(&kind), "{kind}");
        *self.counts.entry(kind).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} requests", self.requests)?;
        for (kind, count) in &self.counts {
            write!(formatter, "; {kind} {count}")?;
        }
        Ok(())
    }
}
