//! What a candidate should do next, from what it saw and when. No clock and no client: time is an argument.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};

use super::Settings;

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing: the lease is somebody else's.
    Wait,
    /// There is no lease: make this one.
    Create(Lease),
    /// Write this one over the one that was seen; its resource version makes that fail if it changed since.
    Replace(Lease),
}

/// State of one candidate.
#[derive(Debug)]
pub(super) struct Election {
    lease_name: String,
    identity: String,
    lease_duration: Duration,
    renew_deadline: Duration,
    /// The record that was seen last, and when it was first seen in that form.
    seen: Option<(Lease, Instant)>,
    /// When the last successful write of ours was sent.
    renewed_at: Option<Instant>,
}

impl Election {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            lease_name: settings.lease_name.clone(),
            identity: settings.identity.clone(),
            lease_duration: settings.lease_duration,
            renew_deadline: settings.renew_deadline,
            seen: None,
            renewed_at: None,
        }
    }

    /// Takes in what was just read and says what to do. `wall` only fills fields that people read.
    pub(super) fn step(&mut self, lease: Option<Lease>, now: Instant, wall: Timestamp) -> Step {
        let Some(lease) = lease else {
            self.seen = None;
            let metadata = ObjectMeta { name: Some(self.lease_name.clone()), ..ObjectMeta::default() };
            return Step::Create(self.ours(metadata, None, wall));
        };
        let is_unchanged = self.seen.as_ref().is_some_and(|(seen, _)| seen.spec == lease.spec);
        if is_unchanged {
            // Only the resource version may be newer; the moment of the first sight stays.
            if let Some((seen, _)) = &mut self.seen {
                seen.metadata = lease.metadata.clone();
            }
        } else {
            self.seen = Some((lease.clone(), now));
        }
        if self.may_take(&lease, now) {
            Step::Replace(self.ours(lease.metadata, lease.spec, wall))
        } else {
            Step::Wait
        }
    }

    /// Our write went through.
    pub(super) fn wrote(&mut self, lease: Lease, sent_at: Instant) {
        self.seen = Some((lease, sent_at));
        self.renewed_at = Some(sent_at);
    }

    /// Until when a holder must have renewed; `None` when it never held.
    pub(super) fn renew_by(&self) -> Option<Instant> {
        self.renewed_at.map(|renewed_at| renewed_at + self.renew_deadline)
    }

    /// Who else holds the lease that was seen last.
    pub(super) fn other_holder(&self) -> Option<String> {
        let (lease, _) = self.seen.as_ref()?;
        holder(lease.spec.as_ref()).filter(|holder| *holder != self.identity).map(str::to_owned)
    }

    /// The lease as it is given back; `None` when it is not ours.
    pub(super) fn released(&self) -> Option<Lease> {
        let (lease, _) = self.seen.as_ref()?;
        let mut lease = lease.clone();
        let spec = lease.spec.as_mut()?;
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return None;
        }
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        lease.metadata.managed_fields = None;
        Some(lease)
    }

    fn may_take(&self, lease: &Lease, now: Instant) -> bool {
        match holder(lease.spec.as_ref()) {
            None => true,
            Some(holder) if holder == self.identity => true,
            Some(_) => {
                let first_seen = self.seen.as_ref().map_or(now, |(_, first_seen)| *first_seen);
                now.saturating_duration_since(first_seen) >= self.duration_of(lease)
            }
        }
    }

    /// The holder's own word on how long its lease lasts wins over ours: it may be of another release.
    fn duration_of(&self, lease: &Lease) -> Duration {
        lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.lease_duration, |seconds| Duration::from_secs(seconds).max(self.lease_duration))
    }

    fn ours(&self, mut metadata: ObjectMeta, previous: Option<LeaseSpec>, wall: Timestamp) -> Lease {
        metadata.managed_fields = None;
        let previous = previous.unwrap_or_default();
        let is_renewal = holder(Some(&previous)) == Some(&self.identity);
        let transitions = previous.lease_transitions.unwrap_or(0);
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.lease_duration.as_secs()).ok(),
                acquire_time: if is_renewal { previous.acquire_time } else { Some(MicroTime(wall)) },
                renew_time: Some(MicroTime(wall)),
                lease_transitions: Some(if is_renewal { transitions } else { transitions.saturating_add(1) }),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Who holds the lease; an empty name is nobody.
fn holder(spec: Option<&LeaseSpec>) -> Option<&str> {
    spec?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(identity: &str) -> Election {
        Election::new(&Settings::new("lease", identity))
    }

    fn held(holder: &str, renewed_second: i64) -> Lease {
        let time = Timestamp::from_second(renewed_second).expect("a time");
        Lease {
            metadata: ObjectMeta { name: Some("lease".to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(time)),
                lease_transitions: Some(3),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn an_old_renew_time_alone_frees_nothing() {
        let mut election = election("b");
        let start = Instant::now();
        // The record says 1970: another machine's clock may be wrong, and the holder may be well.
        assert!(matches!(election.step(Some(held("a", 0)), start, Timestamp::now()), Step::Wait));
        let later = start + Duration::from_secs(14);
        assert!(matches!(election.step(Some(held("a", 0)), later, Timestamp::now()), Step::Wait));
    }

    #[test]
    fn a_record_unchanged_for_its_duration_is_free() {
        let mut election = election("b");
        let start = Instant::now();
        assert!(matches!(election.step(Some(held("a", 0)), start, Timestamp::now()), Step::Wait));
        let later = start + Duration::from_secs(15);
        let Step::Replace(lease) = election.step(Some(held("a", 0)), later, Timestamp::now()) else {
            panic!("the lease was not taken");
        };
        let spec = lease.spec.expect("a spec");
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("b"), Some(4)));
    }

    #[test]
    fn every_renewal_starts_the_wait_anew() {
        let mut election = election("b");
        let start = Instant::now();
        for second in 0..60 {
            let now = start + Duration::from_secs(second * 10);
            let lease = held("a", i64::try_from(second).expect("small"));
            assert!(
                matches!(election.step(Some(lease), now, Timestamp::now()), Step::Wait),
                "after {second}"
            );
        }
    }

    #[test]
    fn a_returned_lease_is_taken_at_once() {
        let mut first = election("a");
        let start = Instant::now();
        let Step::Create(lease) = first.step(None, start, Timestamp::now()) else {
            panic!("no lease was made")
        };
        first.wrote(lease, start);
        let returned = first.released().expect("the lease is ours");
        let mut second = election("b");
        assert!(matches!(second.step(Some(returned), start, Timestamp::now()), Step::Replace(_)));
    }

    #[test]
    fn a_lease_of_somebody_else_is_not_given_back() {
        let mut election = election("b");
        let _ = election.step(Some(held("a", 0)), Instant::now(), Timestamp::now());
        assert!(election.released().is_none());
        assert_eq!(election.other_holder().as_deref(), Some("a"));
    }
}
