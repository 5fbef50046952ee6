//! The names of a layer, in memory until its end: which lies in which directory, and where the inode
//! of each is. Inodes, attributes and the targets of symlinks are in the index already.
//!
//! A name takes 16 bytes here, its own, and some 9 of the table by which it is found.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use rrun_sys::root::RelPath;

use super::format::Kind;
use crate::error::{Error, Result};

/// What the names of a layer may take together: some six million of them.
const MOST: usize = 256 << 20;
/// Of one name beside its own bytes.
const HELD: usize = size_of::<Node>() + 9;

/// One of a tree's names: its place in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

impl Id {
    pub(super) const ROOT: Id = Id(0);
}

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    parent: u32,
    name_at: u32,
    /// Its inode; 0 where none is written yet.
    pub slot: u32,
    name_size: u8,
    pub kind: Kind,
    /// A character device of number 0, which hides what lies below.
    pub is_whiteout: bool,
    /// A directory that hides what lies below.
    pub is_opaque: bool,
}

impl Node {
    pub(super) fn new(kind: Kind, slot: u32) -> Node {
        let (is_whiteout, is_opaque) = (false, false);
        Node { parent: 0, name_at: 0, slot, name_size: 0, kind, is_whiteout, is_opaque }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }
}

pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<u8>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let root = Node::new(Kind::Directory, 0);
        let (names, table, hasher) = (Vec::new(), HashTable::new(), RandomState::new());
        Tree { nodes: vec![root], names, table, hasher }
    }

    pub(super) fn get(&self, id: Id) -> Node {
        self.nodes[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    pub(super) fn parent(&self, id: Id) -> Id {
        Id(self.get(id).parent)
    }

    pub(super) fn name(&self, id: Id) -> &[u8] {
        let node = self.get(id);
        &self.names[node.name_at as usize..][..node.name_size.into()]
    }

    pub(super) fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        let hash = self.hasher.hash_one((parent.0, name));
        self.table.find(hash, |at| self.is_called(*at, parent, name)).copied().map(Id)
    }

    fn is_called(&self, at: u32, parent: Id, name: &[u8]) -> bool {
        self.get(Id(at)).parent == parent.0 && self.name(Id(at)) == name
    }

    /// Gives a directory another name, which it has not yet.
    pub(super) fn add(&mut self, parent: Id, name: &[u8], node: Node) -> Result<Id> {
        let too_many = || Error::invalid("more entries than an index can have");
        if self.nodes.len() * HELD + self.names.len() > MOST {
            return Err(too_many());
        }
        let id = u32::try_from(self.nodes.len()).map_err(|_| too_many())?;
        let name_at = u32::try_from(self.names.len()).map_err(|_| too_many())?;
        let name_size = u8::try_from(name.len());
        let name_size = name_size.map_err(|_| Error::invalid("a name longer than 255 bytes"))?;
        self.names.extend(name);
        self.nodes.push(Node { parent: parent.0, name_at, name_size, ..node });
        let hash = self.hasher.hash_one((parent.0, name));
        let Tree { nodes, names, table, hasher } = self;
        table.insert_unique(hash, id, |at| {
            let node = &nodes[*at as usize];
            let name = &names[node.name_at as usize..][..node.name_size.into()];
            hasher.hash_one((node.parent, name))
        });
        Ok(Id(id))
    }

    /// Takes a name away. What lies below it is reached no more.
    pub(super) fn remove(&mut self, id: Id) {
        let hash = self.hasher.hash_one((self.get(id).parent, self.name(id)));
        if let Ok(entry) = self.table.find_entry(hash, |at| *at == id.0) {
            entry.remove();
        }
    }

    /// How far a path leads through directories: the last of them, and the names that are left.
    pub(super) fn walk<'a>(&self, path: &'a RelPath) -> (Id, Vec<&'a [u8]>) {
        let mut at = Id::ROOT;
        let mut names = path.as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty());
        while let Some(name) = names.next() {
            match self.child(at, name) {
                Some(child) if self.get(child).is_dir() => at = child,
                _ => return (at, std::iter::once(name).chain(names).collect()),
            }
        }
        (at, Vec::new())
    }

    /// The path of a name.
    pub(super) fn path(&self, id: Id) -> Result<RelPath> {
        let (mut names, mut at) = (Vec::new(), id);
        while at != Id::ROOT {
            names.push(self.name(at));
            at = self.parent(at);
        }
        names.reverse();
        Ok(RelPath::parse(names.join(&b'/'))?)
    }

    /// No name is looked for from now on: all that are left, in the order in which directories have
    /// them. The table's memory goes to the order.
    pub(super) fn sorted(mut self) -> Sorted {
        let mut order: Vec<u32> = self.table.drain().collect();
        self.table = HashTable::new();
        let key = |at: &u32| (self.get(Id(*at)).parent, self.name(Id(*at)));
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        Sorted { tree: self, order }
    }
}

/// All names of a tree by their directories.
pub(super) struct Sorted {
    pub tree: Tree,
    order: Vec<u32>,
}

impl Sorted {
    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// What a directory has, by name.
    pub(super) fn children(&self, of: Id) -> impl Iterator<Item = Id> + '_ {
        let parent = |at: &u32| self.tree.get(Id(*at)).parent;
        let start = self.order.partition_point(|at| parent(at) < of.0);
        self.order[start..].iter().take_while(move |at| parent(at) == of.0).map(|at| Id(*at))
    }

    /// Names of files that are not below any of these directories: of what was removed with them.
    pub(super) fn files_outside(&self, directories: &[Id]) -> Vec<Id> {
        let mut is_reached = vec![false; self.tree.nodes.len()];
        directories.iter().for_each(|dir| is_reached[dir.0 as usize] = true);
        let is_outside = |id: &Id| {
            let node = self.tree.get(*id);
            !node.is_dir() && !node.is_whiteout && !is_reached[node.parent as usize]
        };
        self.order.iter().map(|at| Id(*at)).filter(is_outside).collect()
    }

    /// All directories that are reached from the root, parents before their children.
    pub(super) fn directories(&self) -> Vec<Id> {
        let mut all = vec![Id::ROOT];
        let mut at = 0;
        while let Some(dir) = all.get(at).copied() {
            all.extend(self.children(dir).filter(|child| self.tree.get(*child).is_dir()));
            at += 1;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_its_directory_alone_until_it_is_removed() {
        let mut tree = Tree::new();
        let dir = tree.add(Id::ROOT, b"a", Node::new(Kind::Directory, 0)).unwrap();
        let file = tree.add(dir, b"a", Node::new(Kind::File, 9)).unwrap();
        assert_eq!(tree.child(Id::ROOT, b"a"), Some(dir));
        assert_eq!(tree.child(dir, b"a"), Some(file));
        assert_eq!(tree.path(file).unwrap().as_bytes(), b"a/a");
        let path = RelPath::parse("a/a/b").unwrap();
        assert_eq!(tree.walk(&path), (dir, vec![b"a".as_slice(), b"b"]));
        tree.remove(dir);
        assert_eq!(tree.child(Id::ROOT, b"a"), None);
        assert_eq!(tree.sorted().directories(), [Id::ROOT]);
    }

    #[test]
    fn a_million_names_take_less_than_64_mib() {
        let name = "a-name-of-20-letters".len();
        // A table of a million has room for as many again at most, of 4 bytes and one.
        let each = size_of::<Node>() + name + 2 * 5 + size_of::<u32>();
        assert!(each * 1_000_000 < 64 << 20, "{each} bytes for each");
    }

    #[test]
    fn names_are_sorted_by_their_bytes() {
        let mut tree = Tree::new();
        for name in ["b", "a-", "a", "\u{e4}", "B"] {
            tree.add(Id::ROOT, name.as_bytes(), Node::new(Kind::File, 1)).unwrap();
        }
        let sorted = tree.sorted();
        let names: Vec<&[u8]> =
            sorted.children(Id::ROOT).map(|child| sorted.tree.name(child)).collect();
        assert_eq!(names, ["B", "a", "a-", "b", "\u{e4}"].map(str::as_bytes));
    }
}
