//! Leader election: of several operators one works, by a Lease in the operator's namespace.
//!
//! The rules are those that other controllers follow, so that a cluster's administrator knows them:
//! * A lease is free when nobody holds it, or when **its record has not changed for the lease's duration on our own
//!   monotonic clock**. Clocks of different machines are never compared; `renewTime` is for people.
//! * Every write carries the resource version that was read, so of two candidates one gets a conflict and stays out.
//! * A holder that could not renew within the renew deadline, which is shorter than the lease's duration, stops before
//!   anybody else can have started. It stops by ending the process: nothing that is still running can write then.
//! * A holder that ends in good order gives the lease back, so that the next one need not wait.
//!
//! What to do is decided in `election`, which has no clock and no client; this file asks and writes.

mod election;

use std::time::{Duration, Instant};

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, api::PostParams};
use tokio::time;

use election::{Election, Step};

/// How an election runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the Lease.
    pub lease_name: String,
    /// Who we are; no two candidates may share it, not even one process and its successor.
    pub identity: String,
    /// So long must a record stay unchanged before others may take it.
    pub lease_duration: Duration,
    /// So long may a holder fail to renew. Shorter than `lease_duration`.
    pub renew_deadline: Duration,
    /// Between two looks or renewals.
    pub retry_period: Duration,
}

impl Settings {
    /// The durations that Kubernetes' own components use: 15, 10 and 2 seconds.
    #[must_use]
    pub fn new(lease_name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            lease_name: lease_name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Why leadership ended against our will.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// Somebody else holds the lease.
    #[error("the lease was taken over by {holder}")]
    TakenOver {
        /// Who.
        holder: String,
    },
    /// The API server could not be reached for too long.
    #[error("unable to renew the lease for {} seconds, another operator may take over", deadline.as_secs())]
    NotRenewed {
        /// How long was tried.
        deadline: Duration,
    },
}

/// A candidate, and after [`Candidate::acquire`] the leader.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    election: Election,
}

impl Candidate {
    /// A candidate that has not looked at the lease yet.
    #[must_use]
    pub fn new(api: Api<Lease>, settings: Settings) -> Self {
        Self { election: Election::new(&settings), api, settings }
    }

    /// Waits until the lease is ours. `looked` is called after each look that the API server answered.
    pub async fn acquire(&mut self, looked: impl Fn()) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => looked(),
                Err(error) => tracing::warn!(%error, "unable to look at the lease, retrying"),
            }
            time::sleep(self.settings.retry_period).await;
        }
    }

    /// Renews the lease for as long as that goes; returns why it ended.
    pub async fn hold(&mut self) -> LeaseLost {
        loop {
            time::sleep(self.settings.retry_period).await;
            let Some(deadline) = self.election.renew_by() else {
                return LeaseLost::NotRenewed { deadline: self.settings.renew_deadline };
            };
            match time::timeout_at(time::Instant::from_std(deadline), self.attempt()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    if let Some(holder) = self.election.other_holder() {
                        return LeaseLost::TakenOver { holder };
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "unable to renew the lease, retrying"),
                Err(_) => return LeaseLost::NotRenewed { deadline: self.settings.renew_deadline },
            }
        }
    }

    /// Gives the lease back, if it is still ours. A failure costs the next leader a wait, nothing more.
    pub async fn release(self) {
        let Some(lease) = self.election.released() else { return };
        let written = time::timeout(self.settings.retry_period, self.replace(&lease)).await;
        if !matches!(written, Ok(Ok(_))) {
            tracing::warn!("unable to give the lease back; the next leader waits until it runs out");
        }
    }

    /// One look and, where the election says so, one write. Returns whether the lease is ours.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.settings.lease_name).await?;
        // The clock is read before the write: a lease counts from when its renewal was sent, not from when it was answered.
        let now = now();
        let written = match self.election.step(lease, now, Timestamp::now()) {
            Step::Wait => return Ok(false),
            Step::Create(lease) => self.api.create(&PostParams::default(), &lease).await,
            Step::Replace(lease) => self.replace(&lease).await,
        };
        match written {
            Ok(lease) => {
                self.election.wrote(lease, now);
                Ok(true)
            }
            // Somebody else wrote first. The next look shows who.
            Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        self.api.replace(&self.settings.lease_name, &PostParams::default(), lease).await
    }
}

/// The runtime's clock, which tests can move.
fn now() -> Instant {
    time::Instant::now().into_std()
}
