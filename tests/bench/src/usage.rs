//! What a server uses: processor time and memory of its whole process tree, from `/proc`.

use std::collections::HashMap;
use std::time::Duration;

/// The processes of a server at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ProcessTree {
    processes: Vec<u32>,
}

/// Processor time of each thread so far, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessorTime(HashMap<u32, u64>);

impl ProcessTree {
    pub(crate) fn of(root: u32) -> Self {
        Self { processes: descendants(root) }
    }

    /// Processor time of each thread so far.
    pub(crate) fn processor_time(&self) -> ProcessorTime {
        let mut threads = HashMap::new();
        for process in &self.processes {
            let Ok(entries) = std::fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for entry in entries.flatten() {
                let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
                let nanoseconds = std::fs::read_to_string(entry.path().join("schedstat"))
                    .ok()
                    .and_then(|text| running_nanoseconds(&text));
                if let (Some(number), Some(nanoseconds)) = (number, nanoseconds) {
                    threads.insert(number, nanoseconds);
                }
            }
        }
        ProcessorTime(threads)
    }

    /// Memory that is not a copy of a file, in bytes.
    pub(crate) fn anonymous_memory(&self) -> u64 {
        self.processes
            .iter()
            .filter_map(|process| std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok())
            .filter_map(|text| kibibytes(&text, "Anonymous:"))
            .sum::<u64>()
            * 1024
    }
}

impl ProcessorTime {
    /// What was used since `before`. A thread that ended meanwhile counts for nothing.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used =
            self.0.iter().map(|(thread, now)| now - before.0.get(thread).copied().unwrap_or(0).min(*now));
        Duration::from_nanos(used.sum())
    }
}

/// Processor time of this thread so far.
pub(crate) fn own_processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(running_nanoseconds(&text).unwrap_or_default())
}

/// Memory of this process that is in use, in bytes.
pub(crate) fn own_resident_memory() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:").map(|size| size * 1024)
}

/// A process and all that descend from it.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((process, parent(&status)?))
        })
        .collect();
    let mut found = vec![root];
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at).copied() {
        looked_at += 1;
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
    }
    found
}

/// The first number of `schedstat`: time on a processor.
fn running_nanoseconds(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The parent in `/proc/PID/stat`; the name before it is in brackets and may hold anything.
fn parent(text: &str) -> Option<u32> {
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The figure of a line such as `Anonymous:   12 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_begins_with_the_time_on_a_processor() {
        assert_eq!(running_nanoseconds("1234567890 42 7\n"), Some(1_234_567_890));
        assert_eq!(running_nanoseconds(""), None);
        assert_eq!(running_nanoseconds("x 1 2"), None);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_hide_the_parent() {
        assert_eq!(parent("77 (a) b) (c) S 12 77 77 0 -1"), Some(12));
        assert_eq!(parent("77"), None);
    }

    #[test]
    fn memory_is_found_by_the_name_of_its_line() {
        let text = "Rss:  100 kB\nAnonymous:            48 kB\nAnonHugePages: 9 kB\n";
        assert_eq!(kibibytes(text, "Anonymous:"), Some(48));
        assert_eq!(kibibytes(text, "Swap:"), None);
    }

    #[test]
    fn new_threads_count_whole_and_ended_ones_not_at_all() {
        let before = ProcessorTime([(1, 100), (2, 50)].into());
        let after = ProcessorTime([(1, 130), (3, 7)].into());
        assert_eq!(after.since(&before), Duration::from_nanos(37));
    }

    #[test]
    fn our_own_children_are_found() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let found = descendants(std::process::id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(found.contains(&child.id()), "{found:?} without {}", child.id());
    }
}
