//! Faults that the mock puts into its own answers, by path or by service, changeable while it runs.
//!
//! The first entry whose path or service matches and whose `times` is not used up applies; all of its fields apply
//! together. Byte counts of `stallAfterBytes` and `cutAfterBytes` start at the first body byte of that answer,
//! whatever its range; `corruptByte` is an offset in the object, so it is wrong in every range that covers it.

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::config::{ConfigError, validate_faults};
use crate::control_plane::{Service, WrongAnswer};

/// One fault. The default of each field changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Path (percent-decoded, without query) it applies to; with `*` at the end every path that starts so. Empty =
    /// `service` decides.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Service of the control plane it applies to, whatever the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Answer with this status instead of the object. 200 sends the whole object and ignores `Range`, as an origin
    /// without range support does. 204 and 304 have no body; every other status has a short text.
    pub status: Option<u16>,
    /// `Retry-After` of the answer that `status` makes, seconds.
    pub retry_after_seconds: Option<u64>,
    /// Wait before the first byte of the answer.
    pub delay_milliseconds: u64,
    /// Send that many body bytes, then nothing: the connection stays open until the client leaves, the fault list is
    /// replaced (then the rest follows) or the mock stops.
    pub stall_after_bytes: Option<u64>,
    /// Send that many body bytes, then close the connection.
    pub cut_after_bytes: Option<u64>,
    /// Invert the byte at this offset of the object.
    pub corrupt_byte: Option<u64>,
    /// Invert the first byte of this piece of 1 MiB, counted from 0; of a piece hash file, of the hash of this piece.
    pub corrupt_piece: Option<u64>,
    /// The services: answer wrongly in this way.
    pub answer: Option<WrongAnswer>,
    /// Send the body no faster than this.
    pub trickle_bytes_per_second: Option<u64>,
    /// Apply to that many requests, then never again; `None` = always. `GET /_faults` shows how many are left.
    pub times: Option<u64>,
}

impl Fault {
    fn matches(&self, path: &str, service: Option<Service>) -> bool {
        if self.service.is_some() {
            return self.service == service;
        }
        match self.path.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => self.path == path,
        }
    }
}

/// The faults in effect.
#[derive(Debug)]
pub(crate) struct FaultTable {
    faults: Mutex<Vec<Fault>>,
    /// Whether there are services that a fault could be for.
    has_services: bool,
    /// Counts replacements; stalled answers wait for a change.
    generation: watch::Sender<u64>,
}

impl FaultTable {
    pub(crate) fn new(faults: Vec<Fault>, has_services: bool) -> Self {
        Self { faults: Mutex::new(faults), has_services, generation: watch::Sender::new(0) }
    }

    /// Puts `faults` in the place of all earlier ones and lets stalled answers go on.
    pub(crate) fn replace(&self, faults: Vec<Fault>) -> Result<(), ConfigError> {
        validate_faults(&faults, self.has_services)?;
        *self.faults.lock() = faults;
        self.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// The faults as they stand, with the remaining `times`.
    pub(crate) fn current(&self) -> Vec<Fault> {
        self.faults.lock().clone()
    }

    /// The fault for one request, which uses up one of its `times`. The receiver reports when the list is replaced
    /// after this moment.
    pub(crate) fn take(&self, path: &str, service: Option<Service>) -> (Fault, watch::Receiver<u64>) {
        let mut faults = self.faults.lock();
        let replaced = self.generation.subscribe();
        let fault = faults.iter_mut().find(|fault| fault.times != Some(0) && fault.matches(path, service));
        let taken = fault.map_or_else(Fault::default, |fault| {
            let taken = fault.clone();
            fault.times = fault.times.map(|times| times - 1);
            taken
        });
        (taken, replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str, status: u16, times: Option<u64>) -> Fault {
        Fault { path: path.to_owned(), status: Some(status), times, ..Fault::default() }
    }

    #[test]
    fn the_first_match_with_times_left_applies() {
        let table = FaultTable::new(
            vec![status("/a/b", 500, Some(2)), status("/a/*", 501, None), status("/a/b", 502, None)],
            true,
        );
        let seen: Vec<_> = (0..3).map(|_| table.take("/a/b", None).0.status).collect();
        assert_eq!(seen, [Some(500), Some(500), Some(501)]);
        assert_eq!(table.take("/a", None).0.status, None);
        assert_eq!(table.take("/a/", None).0.status, Some(501));
        assert_eq!(table.current()[0].times, Some(0));
    }

    #[test]
    fn a_refused_list_changes_nothing() {
        let table = FaultTable::new(vec![status("/a", 500, None)], true);
        table.replace(vec![status("no-slash", 500, None)]).unwrap_err();
        assert_eq!(table.take("/a", None).0.status, Some(500));
        table.replace(Vec::new()).unwrap();
        assert_eq!(table.take("/a", None).0, Fault::default());
    }
}
