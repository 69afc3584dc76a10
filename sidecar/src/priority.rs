//! Threads that step back. A cold piece is read and hashed in one go, half a millisecond of a processor or more; a thread that
//! serves requests, each of which needs a few microseconds, must not wait for that.

use std::cell::Cell;

use rustix::process::{getpriority_process, setpriority_process};

/// Niceness of threads that read volumes: a third of the share of those that serve, when there is not enough for all.
const NICENESS: i32 = 5;

thread_local! {
    static STEPPED_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Lowers the priority of this thread, for good. Call it on threads for blocking work only.
pub(crate) fn step_back() {
    // On Linux this is about the calling thread alone. Where it is forbidden, all are equal.
    if !STEPPED_BACK.replace(true) && getpriority_process(None).is_ok_and(|niceness| niceness < NICENESS) {
        let _ = setpriority_process(None, NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_itself_steps_back() {
        let before = getpriority_process(None).unwrap();
        let lowered = std::thread::spawn(|| {
            step_back();
            step_back();
            getpriority_process(None).unwrap()
        });
        assert_eq!(lowered.join().unwrap(), NICENESS.max(before));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
