//! Short-lived commands: run, wait, and turn a failure into an error that carries the command line and what it printed.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::error::{Error, Result};

/// Folders searched beside `PATH`: administration programs are often missing from a user's `PATH`.
const ADMINISTRATION_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Runs a command and returns its standard output.
pub(crate) fn run<I, S>(program: &str, arguments: I) -> Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    output(Command::new(program_path(program)).args(arguments))
}

/// Runs a command which reads `input` on its standard input.
pub(crate) fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program_path(program));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = command_line(&command);
    let failed = |source: std::io::Error| not_started(&line, &source);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends early closes the pipe; its exit status says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    check(&line, &child.wait_with_output().map_err(failed)?)
}

/// Runs a prepared command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command.stdin(Stdio::null()).output().map_err(|source| not_started(&line, &source))?;
    check(&line, &output)
}

/// Finds a program on `PATH` and in the administration folders.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ADMINISTRATION_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The full path of a program, or its bare name so that starting it reports what is missing.
pub(crate) fn program_path(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| PathBuf::from(program))
}

/// The last `lines` lines of a file, or nothing when it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    last_lines(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()), lines)
}

pub(crate) fn check(line: &str, output: &Output) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let stderr = text(&output.stderr);
    let said = if stderr.trim().is_empty() { text(&output.stdout) } else { stderr };
    Err(Error::Command {
        command: line.to_owned(),
        status: output.status.to_string(),
        output: last_lines(&said, 20),
    })
}

pub(crate) fn not_started(line: &str, source: &std::io::Error) -> Error {
    Error::Command { command: line.to_owned(), status: "not started".to_owned(), output: source.to_string() }
}

pub(crate) fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_carries_its_line_and_its_words() {
        let error = run("sh", ["-c", "echo broken pipe organ >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("sh -c"), "{error}");
        assert!(error.contains("broken pipe organ"), "{error}");
        assert!(error.contains('3'), "{error}");
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(run_with_input("cat", &[], "one\ntwo\n").unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("no-such-program-anywhere", ["x"]).unwrap_err().to_string();
        assert!(error.contains("no-such-program-anywhere x"), "{error}");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
    }
}
