use proptest::prelude::*;

use super::*;

const FILE: Node = Node(2);
const NAME: &str = "file";

fn write(log: &mut Log, offset: u64, bytes: &[u8]) {
    log.push(Operation::Write { node: FILE, offset, length: bytes.len() as u64 }, bytes);
}

fn sync(log: &mut Log) {
    log.push(Operation::SyncFile { node: FILE }, &[]);
}

/// A log that begins with a file that has a name for good.
fn log_of_a_file() -> Log {
    let mut log = Log::default();
    log.push(Operation::MakeFile { parent: Node::ROOT, name: NAME.to_owned(), node: FILE }, &[]);
    log.push(Operation::SyncFolder { node: Node::ROOT }, &[]);
    log
}

fn file_after(log: &Log, survival: Survival, seed: u64) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    log.after_power_cut(log.len(), survival, &mut Random::new(seed), folder.path()).unwrap();
    std::fs::read(folder.path().join(NAME)).ok()
}

#[test]
fn what_was_synced_is_there_and_what_was_not_is_lost_in_the_worst_case() {
    let mut log = log_of_a_file();
    write(&mut log, 0, b"synced");
    sync(&mut log);
    write(&mut log, 0, b"later, and longer");
    assert_eq!(file_after(&log, Survival::Nothing, 1).unwrap(), b"synced");
    assert_eq!(file_after(&log, Survival::Everything, 1).unwrap(), b"later, and longer");
}

#[test]
fn a_synced_file_whose_folder_was_not_synced_may_have_no_name() {
    let mut log = Log::default();
    log.push(Operation::MakeFile { parent: Node::ROOT, name: NAME.to_owned(), node: FILE }, &[]);
    write(&mut log, 0, b"synced");
    sync(&mut log);
    assert_eq!(file_after(&log, Survival::Nothing, 1), None);
    log.push(Operation::SyncFolder { node: Node::ROOT }, &[]);
    assert_eq!(file_after(&log, Survival::Nothing, 1).unwrap(), b"synced");
    log.push(Operation::Remove { parent: Node::ROOT, name: NAME.to_owned(), node: FILE }, &[]);
    assert_eq!(file_after(&log, Survival::Nothing, 1).unwrap(), b"synced", "the removal was not synced");
    assert_eq!(file_after(&log, Survival::Everything, 1), None);
}

#[test]
fn a_hole_is_zero_once_synced_and_may_be_the_old_bytes_before() {
    let mut log = log_of_a_file();
    write(&mut log, 0, &[7; 8192]);
    sync(&mut log);
    log.push(Operation::Zero { node: FILE, offset: 4096, length: 4096 }, &[]);
    assert_eq!(file_after(&log, Survival::Nothing, 1).unwrap(), [7; 8192]);
    let punched = [[7; 4096], [0; 4096]].concat();
    assert_eq!(file_after(&log, Survival::Everything, 1).unwrap(), punched);
    sync(&mut log);
    assert_eq!(file_after(&log, Survival::Nothing, 1).unwrap(), punched);
}

#[test]
fn a_rename_replaces_or_does_not_and_never_loses_both() {
    let mut log = log_of_a_file();
    write(&mut log, 0, b"old");
    sync(&mut log);
    let new = Node(3);
    log.push(Operation::MakeFile { parent: Node::ROOT, name: "new".to_owned(), node: new }, &[]);
    log.push(Operation::Write { node: new, offset: 0, length: 3 }, b"new");
    log.push(Operation::SyncFile { node: new }, &[]);
    log.push(Operation::SyncFolder { node: Node::ROOT }, &[]);
    let rename = Operation::Rename {
        parent: Node::ROOT,
        name: "new".to_owned(),
        node: new,
        new_parent: Node::ROOT,
        new_name: NAME.to_owned(),
    };
    log.push(rename, &[]);
    assert_eq!(file_after(&log, Survival::Nothing, 1).unwrap(), b"old");
    assert_eq!(file_after(&log, Survival::Everything, 1).unwrap(), b"new");
}

#[test]
fn an_ordered_cut_keeps_what_came_before_it() {
    let mut log = log_of_a_file();
    write(&mut log, 0, b"a");
    write(&mut log, 4096, b"b");
    let contents = file_after(&log, Survival::Ordered(log.len() - 1), 1).unwrap();
    assert_eq!(contents, b"a");
}

#[test]
fn pages_survive_each_for_itself_and_sectors_tear_them() {
    let mut log = log_of_a_file();
    write(&mut log, 0, &vec![1; 64 * 4096]);
    sync(&mut log);
    write(&mut log, 0, &vec![2; 64 * 4096]);
    let uniform = |unit: &[u8]| unit.iter().all(|byte| *byte == unit[0]);
    let pages = file_after(&log, Survival::Pages(8), 1).unwrap();
    assert!(pages.chunks(4096).all(uniform));
    assert!(pages.contains(&1) && pages.contains(&2), "some survive and some do not");
    let sectors = file_after(&log, Survival::Sectors(8), 1).unwrap();
    assert!(sectors.chunks(512).all(uniform) && !sectors.chunks(4096).all(uniform));
}

#[derive(Clone, Debug)]
enum Step {
    Write(u16, Vec<u8>),
    Resize(u16),
    Zero(u16, u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u16..20_000, proptest::collection::vec(1u8.., 1..9000))
            .prop_map(|(offset, bytes)| Step::Write(offset, bytes)),
        (0u16..30_000).prop_map(Step::Resize),
        (0u16..20_000, 1u16..9000).prop_map(|(offset, length)| Step::Zero(offset, length)),
    ]
}

proptest! {
    #[test]
    fn without_a_loss_the_file_is_what_the_operations_made_it(steps in proptest::collection::vec(step(), 0..12), synced in any::<bool>()) {
        let (mut log, mut expected) = (log_of_a_file(), Vec::new());
        for step in &steps {
            match step {
                Step::Write(offset, bytes) => {
                    let start = usize::from(*offset);
                    expected.resize(expected.len().max(start + bytes.len()), 0);
                    expected[start..start + bytes.len()].copy_from_slice(bytes);
                    write(&mut log, u64::from(*offset), bytes);
                }
                Step::Resize(length) => {
                    expected.resize(usize::from(*length), 0);
                    log.push(Operation::Resize { node: FILE, length: u64::from(*length) }, &[]);
                }
                Step::Zero(offset, length) => {
                    let (start, end) = (usize::from(*offset), usize::from(*offset) + usize::from(*length));
                    let (start, end) = (start.min(expected.len()), end.min(expected.len()));
                    expected[start..end].fill(0);
                    let (offset, length) = (u64::from(*offset), u64::from(*length));
                    log.push(Operation::Zero { node: FILE, offset, length }, &[]);
                }
            }
        }
        let survival = if synced { sync(&mut log); Survival::Nothing } else { Survival::Everything };
        prop_assert_eq!(file_after(&log, survival, 1).unwrap(), expected);
    }
}
