//! Names that say which run made a thing, so that the next run can remove what one left behind that was killed.

use rustix::process::{Pid, test_kill_process};

/// Names of ours begin so; the number of the process that made them follows.
const PREFIX: &str = "connected-cache-bench-";

/// A name for something of this run; more may follow it after a dash.
pub(crate) fn own_name() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// Whether a name is that of something whose run is over.
pub(crate) fn is_abandoned(name: &str) -> bool {
    maker(name).and_then(Pid::from_raw).is_some_and(|maker| test_kill_process(maker).is_err())
}

fn maker(name: &str) -> Option<i32> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.split_once('-').map_or(rest, |(number, _)| number).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_living_process_made_is_not_abandoned() {
        assert!(!is_abandoned(&own_name()));
        assert!(!is_abandoned(&format!("{}-Ab3dEf", own_name())));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(is_abandoned(&format!("{PREFIX}{}-Ab3dEf", child.id())));
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for name in ["connected-cache-cluster", "connected-cache-bench-", "connected-cache-bench-x-1", "help"]
        {
            assert_eq!(maker(name), None, "{name}");
        }
        assert_eq!(maker("connected-cache-bench-17-a-b"), Some(17));
    }
}
