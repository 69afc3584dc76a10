//! Contents and length of one file after a power cut.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Survival;
use crate::log::{Log, Operation};
use crate::random::Random;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What happened to one file.
#[derive(Debug, Default)]
pub(super) struct FileHistory<'a> {
    /// Indexes in the log and operations, syncs left out.
    operations: Vec<(usize, &'a Operation)>,
    /// How many of them the last sync covered.
    synced: usize,
    /// For each page the operations that touched it, by their place in `operations`.
    pages: BTreeMap<u64, Vec<usize>>,
    /// Lengths, and the operations that set them.
    lengths: Vec<(usize, u64)>,
}

impl<'a> FileHistory<'a> {
    pub(super) fn add(&mut self, index: usize, operation: &'a Operation) {
        let place = self.operations.len();
        let length = self.lengths.last().map_or(0, |(_, length)| *length);
        match operation {
            Operation::Write { offset, length: written, .. } => {
                for page in pages_of(*offset, *written) {
                    self.pages.entry(page).or_default().push(place);
                }
                if offset + written > length {
                    self.lengths.push((place, offset + written));
                }
            }
            Operation::Zero { offset, length, .. } => self.touch_known(pages_of(*offset, *length), place),
            Operation::Resize { length: new, .. } => {
                self.touch_known(new / PAGE as u64..u64::MAX, place);
                self.lengths.push((place, *new));
            }
            _ => {
                self.synced = place;
                return;
            }
        }
        self.operations.push((index, operation));
    }

    fn touch_known(&mut self, pages: std::ops::Range<u64>, place: usize) {
        for (_, touched) in self.pages.range_mut(pages) {
            touched.push(place);
        }
    }

    pub(super) fn write(
        &self,
        log: &Log,
        survival: Survival,
        random: &mut Random,
        path: &Path,
    ) -> io::Result<()> {
        let file = File::create(path)?;
        let places: Vec<usize> = self.lengths.iter().map(|(place, _)| *place).collect();
        let state = self.state(&places, survival, random);
        let length = state.checked_sub(1).map_or(0, |last| self.lengths[last].1);
        file.set_len(length)?;
        for (page, places) in &self.pages {
            let start = page * PAGE as u64;
            let contents = self.page(log, *page, places, survival, random);
            let kept = usize::try_from(length.saturating_sub(start)).map_or(PAGE, |left| left.min(PAGE));
            if contents.iter().any(|byte| *byte != 0) {
                file.write_all_at(&contents[..kept], start)?;
            }
        }
        Ok(())
    }

    fn page(
        &self,
        log: &Log,
        page: u64,
        places: &[usize],
        survival: Survival,
        random: &mut Random,
    ) -> [u8; PAGE] {
        let unit = if matches!(survival, Survival::Sectors(_)) { SECTOR } else { PAGE };
        let mut contents = [0; PAGE];
        for start in (0..PAGE).step_by(unit) {
            let state = self.state(places, survival, random);
            let offset = page * PAGE as u64 + start as u64;
            self.compose(log, &places[..state], offset, &mut contents[start..start + unit]);
        }
        contents
    }

    /// Applies operations to a range that is zero.
    fn compose(&self, log: &Log, places: &[usize], offset: u64, range: &mut [u8]) {
        let end = offset + range.len() as u64;
        let first =
            places.iter().rposition(|place| covers(self.operations[*place].1, offset, end)).unwrap_or(0);
        for place in &places[first..] {
            let (index, operation) = self.operations[*place];
            let (from, to) = extent(operation);
            let (from, to) = (from.clamp(offset, end), to.clamp(offset, end));
            let target = &mut range[within(from, offset)..within(to, offset)];
            if let Operation::Write { offset: start, .. } = operation {
                if from < to {
                    target.copy_from_slice(&log.bytes(index)[within(from, *start)..within(to, *start)]);
                }
            } else {
                target.fill(0);
            }
        }
    }

    fn state(&self, places: &[usize], survival: Survival, random: &mut Random) -> usize {
        let durable = places.partition_point(|place| *place < self.synced);
        let indexes: Vec<usize> = places.iter().map(|place| self.operations[*place].0).collect();
        survival.state(durable, &indexes, random)
    }
}

fn within(position: u64, start: u64) -> usize {
    // Positions inside one write or one page.
    usize::try_from(position - start).unwrap_or(usize::MAX)
}

fn pages_of(offset: u64, length: u64) -> std::ops::Range<u64> {
    offset / PAGE as u64..(offset + length).div_ceil(PAGE as u64)
}

/// The bytes that an operation sets.
fn extent(operation: &Operation) -> (u64, u64) {
    match operation {
        Operation::Write { offset, length, .. } | Operation::Zero { offset, length, .. } => {
            (*offset, offset + length)
        }
        Operation::Resize { length, .. } => (*length, u64::MAX),
        _ => (0, 0),
    }
}

fn covers(operation: &Operation, offset: u64, end: u64) -> bool {
    let (from, to) = extent(operation);
    from <= offset && end <= to
}
