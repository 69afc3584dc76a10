//! Names after a power cut.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use super::Survival;
use crate::log::{Node, Operation};
use crate::random::Random;

/// Writes a file of the state.
type WriteFile<'a> = dyn FnMut(Node, &Path, &mut Random) -> io::Result<()> + 'a;

/// What happened to all names.
#[derive(Debug, Default)]
pub(super) struct Folders<'a> {
    operations: Vec<(usize, &'a Operation)>,
    /// For each folder how many operations its last sync covered.
    synced: HashMap<Node, usize>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    node: Node,
    is_folder: bool,
}

type Tree = BTreeMap<Node, BTreeMap<String, Entry>>;

impl<'a> Folders<'a> {
    pub(super) fn add(&mut self, index: usize, operation: &'a Operation) {
        if let Operation::SyncFolder { node } = operation {
            self.synced.insert(*node, self.operations.len());
        } else {
            self.operations.push((index, operation));
        }
    }

    pub(super) fn write(
        &self,
        survival: Survival,
        random: &mut Random,
        into: &Path,
        file: &mut WriteFile<'_>,
    ) -> io::Result<()> {
        let mut tree = Tree::new();
        for (place, (index, operation)) in self.operations.iter().enumerate() {
            let is_synced = |folder: Node| self.synced.get(&folder).is_some_and(|covered| place < *covered);
            let durable = folders_of(operation).into_iter().any(is_synced);
            if survival.state(usize::from(durable), &[*index], random) == 1 {
                apply(&mut tree, operation);
            }
        }
        write_folder(&tree, Node::ROOT, into, random, file)
    }
}

fn folders_of(operation: &Operation) -> Vec<Node> {
    match operation {
        Operation::MakeFolder { parent, .. }
        | Operation::MakeFile { parent, .. }
        | Operation::Remove { parent, .. } => vec![*parent],
        Operation::Rename { parent, new_parent, .. } => vec![*parent, *new_parent],
        _ => Vec::new(),
    }
}

/// Does what an operation did, as far as what it builds on has survived.
fn apply(tree: &mut Tree, operation: &Operation) {
    let mut put = |parent: &Node, name: &String, node: &Node, is_folder| {
        tree.entry(*parent).or_default().insert(name.clone(), Entry { node: *node, is_folder });
    };
    match operation {
        Operation::MakeFolder { parent, name, node } => put(parent, name, node, true),
        Operation::MakeFile { parent, name, node } => put(parent, name, node, false),
        Operation::Remove { parent, name, node } => drop(take(tree, *parent, name, *node)),
        Operation::Rename { parent, name, node, new_parent, new_name } => {
            if let Some(entry) = take(tree, *parent, name, *node) {
                tree.entry(*new_parent).or_default().insert(new_name.clone(), entry);
            }
        }
        _ => {}
    }
}

fn take(tree: &mut Tree, parent: Node, name: &str, node: Node) -> Option<Entry> {
    let names = tree.get_mut(&parent)?;
    if names.get(name)?.node != node {
        return None;
    }
    names.remove(name)
}

fn write_folder(
    tree: &Tree,
    folder: Node,
    path: &Path,
    random: &mut Random,
    file: &mut WriteFile<'_>,
) -> io::Result<()> {
    for (name, entry) in tree.get(&folder).into_iter().flatten() {
        let path = path.join(name);
        if entry.is_folder {
            std::fs::create_dir(&path)?;
            write_folder(tree, entry.node, &path, random, file)?;
        } else {
            file(entry.node, &path, random)?;
        }
    }
    Ok(())
}
