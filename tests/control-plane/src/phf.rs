//! The `phf` and `verify` subcommands: piece hash files made and checked by hand.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use connected_cache_wire::delivery_optimization::{HashOfHashes, PieceHashFile, PieceHashFileBuilder};
use indicatif::{ProgressBar, ProgressStyle};

/// Read size while hashing.
const BUFFER_BYTES: usize = 1 << 20;
/// Shorter work is over before a bar could be read.
const BAR_FROM_BYTES: u64 = 64 << 20;
/// Wrong pieces that are listed one by one.
const LISTED_PIECES: usize = 20;

#[derive(Args)]
pub(crate) struct MakeArguments {
    /// The content
    #[arg(value_name = "FILE")]
    content: PathBuf,
    /// Where to write the piece hash file, instead of FILE.phf
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The content
    #[arg(value_name = "FILE")]
    content: PathBuf,
    /// Its piece hash file
    #[arg(value_name = "PHF")]
    piece_hash_file: PathBuf,
    /// HashOfHashes (base64) that the piece hash file must have: its own only shows that it is whole
    #[arg(long, value_name = "BASE64")]
    hash_of_hashes: Option<String>,
}

/// Writes a piece hash file and prints its `HashOfHashes`.
pub(crate) fn make(arguments: &MakeArguments) -> anyhow::Result<bool> {
    let output = arguments.output.clone().unwrap_or_else(|| {
        let mut name = arguments.content.clone().into_os_string();
        name.push(".phf");
        name.into()
    });
    // Before the work: hashing may take minutes.
    if !arguments.force && output.exists() {
        bail!("{} exists, choose another --output or replace it with --force", output.display());
    }
    let made = hash(&arguments.content, PieceHashFileBuilder::new())?;
    write(&output, &made.encode(), arguments.force)
        .with_context(|| format!("failed to write {}", output.display()))?;
    println!("{}", made.hash_of_hashes());
    Ok(true)
}

/// Whether the content is what its piece hash file says.
pub(crate) fn verify(arguments: &VerifyArguments) -> anyhow::Result<bool> {
    let shown = arguments.piece_hash_file.display();
    let stated = read(&arguments.piece_hash_file).with_context(|| format!("failed to read {shown}"))?;
    let stated =
        PieceHashFile::parse(&stated).with_context(|| format!("{shown} is no usable piece hash file"))?;
    if let Some(expected) = &arguments.hash_of_hashes {
        let expected = HashOfHashes::from_base64(expected)
            .with_context(|| format!("--hash-of-hashes {expected} is no HashOfHashes"))?;
        if expected != stated.hash_of_hashes() {
            println!("{shown} has the HashOfHashes {}, expected {expected}", stated.hash_of_hashes());
            return Ok(false);
        }
    }
    let content = arguments.content.display();
    let length =
        std::fs::metadata(&arguments.content).with_context(|| format!("failed to open {content}"))?.len();
    if length != stated.content_length_bytes() {
        println!("{content} has {length} bytes, {shown} is for {} bytes", stated.content_length_bytes());
        return Ok(false);
    }
    let found =
        hash(&arguments.content, PieceHashFileBuilder::with_piece_length(stated.piece_length_bytes())?)?;
    if found.hash_of_hashes() == stated.hash_of_hashes() {
        println!("{content} is right: {} pieces, {}", found.piece_count(), stated.hash_of_hashes());
        return Ok(true);
    }
    report(&stated, &found);
    Ok(false)
}

fn report(stated: &PieceHashFile, found: &PieceHashFile) {
    let wrong: Vec<usize> =
        (0..stated.piece_count()).filter(|number| stated.piece(*number) != found.piece(*number)).collect();
    for number in wrong.iter().take(LISTED_PIECES) {
        if let Some(range) = stated.piece_range(*number) {
            println!("piece {number} is wrong: bytes {} to {}", range.start, range.end - 1);
        }
    }
    if let Some(more) = wrong.len().checked_sub(LISTED_PIECES).filter(|more| *more > 0) {
        println!("and {more} more");
    }
    println!("{} of {} pieces are wrong", wrong.len(), stated.piece_count());
}

fn hash(path: &Path, mut builder: PieceHashFileBuilder) -> anyhow::Result<PieceHashFile> {
    let opened = || format!("failed to read {}", path.display());
    let mut file = File::open(path).with_context(opened)?;
    let bar = bar(file.metadata().with_context(opened)?.len());
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer).with_context(opened)?;
        if count == 0 {
            break;
        }
        builder.push(&buffer[..count])?;
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    Ok(builder.finish())
}

/// Drawn on stderr, and only where that is a terminal.
fn bar(length: u64) -> ProgressBar {
    if length < BAR_FROM_BYTES {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// The whole file, unless it is longer than any piece hash file may be.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more, so that a longer file is refused for its length and not for being cut.
    File::open(path)?.take(PieceHashFile::MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn write(path: &Path, text: &[u8], replace: bool) -> std::io::Result<()> {
    let mut options = File::options();
    options.write(true);
    let mut file =
        if replace { options.create(true).truncate(true) } else { options.create_new(true) }.open(path)?;
    file.write_all(text)
}
