//! Counting what passed and what failed, over cargo's test runner and our own checks.

/// Counts over all stages.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failures: Vec<String>,
}

impl Tally {
    /// How many checks passed.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    /// How many checks failed.
    pub(crate) fn failed(&self) -> usize {
        self.failures.len()
    }

    /// What failed, by name.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().map(String::as_str)
    }

    /// Counts one check of our own that passed.
    pub(crate) fn count_pass(&mut self) {
        self.passed += 1;
    }

    /// Counts one failure.
    pub(crate) fn count_failure(&mut self, name: &str) {
        self.failures.push(name.to_owned());
    }

    /// Reads one line that cargo's test runner printed.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some(rest) = line.trim_end().strip_prefix("test ") else { return };
        if let Some((name, outcome)) = rest.rsplit_once(" ... ") {
            match outcome {
                "ok" => self.passed += 1,
                "FAILED" => self.failures.push(name.to_owned()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn lines_of_the_test_runner_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test range::suffix_longer_than_the_object ... ok",
            "test store::survives - should panic ... ok",
            "test e2e ... ignored, needs a cluster",
            "test wire::bad ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ] {
            tally.read_line(line);
        }
        assert_eq!((tally.passed(), tally.failed()), (2, 1));
        assert_eq!(tally.failures().collect::<Vec<_>>(), ["wire::bad"]);
    }
}
