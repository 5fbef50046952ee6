//! Files that use each other in a circle.
//!
//! A file uses another when it names something that is defined there, by a `use` or by a path; a
//! name that a module only passes on (`pub use`) is looked up where it comes from. A module and
//! the modules below it are not held apart from each other: a parent declares its children, and
//! these see what is their parent's.

use crate::Breach;
use crate::sources::{Source, cfg_test};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::Visit;

/// A module's names from the root of its crate.
type Module = Vec<String>;

pub fn check(sources: &[Source]) -> Vec<Breach> {
    let mut crates: BTreeMap<String, Vec<&Source>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.test) {
        if let Some(root) = root_of(source, sources) {
            crates.entry(root).or_default().push(source);
        }
    }
    crates.iter().flat_map(|(root, files)| circles(&Crate::new(root, files))).collect()
}

/// The nearest folder above with a `lib.rs` or `main.rs`.
fn root_of(source: &Source, sources: &[Source]) -> Option<String> {
    let folders = Path::new(&source.path).ancestors().skip(1);
    let is_root = |folder: &&Path| {
        let roots = [folder.join("lib.rs"), folder.join("main.rs")];
        sources.iter().any(|other| roots.iter().any(|root| Path::new(&other.path) == root))
    };
    folders.into_iter().find(is_root).map(|folder| folder.display().to_string())
}

/// One crate: its files by module, and what each of them names.
struct Crate<'a> {
    files: BTreeMap<Module, &'a str>,
    names: BTreeMap<Module, Names>,
}

/// What a file names: by which local name it knows something, and what it uses.
#[derive(Default)]
struct Names {
    module: Module,
    children: BTreeSet<String>,
    known: BTreeMap<String, Module>,
    used: BTreeSet<Module>,
}

impl<'a> Crate<'a> {
    fn new(root: &str, sources: &[&'a Source]) -> Crate<'a> {
        let mut code = Crate { files: BTreeMap::new(), names: BTreeMap::new() };
        for source in sources {
            let module = module_of(root, &source.path);
            let mut names = Names { module: module.clone(), ..Names::default() };
            // Imports before paths: a path may begin with an imported name.
            for pass in [Pass::Imports, Pass::Paths] {
                Reader { names: &mut names, pass }.visit_file(&source.file);
            }
            code.names.insert(module.clone(), names);
            code.files.insert(module, &source.path);
        }
        code
    }

    /// The file that defines what `path` names, passed on by others or not.
    fn defines(&self, path: &[String], depth: usize) -> Option<&Module> {
        let length = (0..=path.len()).rev().find(|n| self.files.contains_key(&path[..*n]))?;
        let (module, _) = self.files.get_key_value(&path[..length])?;
        let item = path.get(length)?;
        match self.names[module].known.get(item) {
            Some(origin) if depth < 8 => {
                let path: Module = origin.iter().chain(&path[length + 1..]).cloned().collect();
                self.defines(&path, depth + 1).or(Some(module))
            }
            _ => Some(module),
        }
    }

    fn edges(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
        for (from, names) in &self.names {
            let to = names.used.iter().filter_map(|path| self.defines(path, 0));
            let apart = |to: &&Module| !to.starts_with(from) && !from.starts_with(to);
            edges.insert(from, to.filter(apart).collect());
        }
        edges
    }
}

fn module_of(root: &str, path: &str) -> Module {
    let inside = Path::new(path).strip_prefix(root).unwrap().with_extension("");
    let mut module: Module =
        inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Imports,
    Paths,
}

struct Reader<'n> {
    names: &'n mut Names,
    pass: Pass,
}

impl Names {
    /// A path from the root of the crate; `None` for one into another crate.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Module::new(),
            "self" => self.module.clone(),
            "super" => self.module.split_last()?.1.to_vec(),
            name if self.children.contains(name) => [&self.module[..], &path[..1]].concat(),
            name => self.known.get(name)?.clone(),
        };
        for part in rest {
            match part.as_str() {
                "super" => drop(base.pop()),
                _ => base.push(part.clone()),
            }
        }
        Some(base)
    }

    fn import(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let joined = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (path, known) = match tree {
            syn::UseTree::Path(path) => return self.import(&path.tree, &joined(&path.ident)),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, prefix));
            }
            syn::UseTree::Glob(_) => return,
            syn::UseTree::Name(name) if name.ident == "self" => {
                (prefix.to_vec(), prefix.last().cloned().unwrap_or_default())
            }
            syn::UseTree::Name(name) => (joined(&name.ident), name.ident.to_string()),
            syn::UseTree::Rename(rename) => (joined(&rename.ident), rename.rename.to_string()),
        };
        if let Some(path) = self.resolve(&path) {
            self.known.insert(known, path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if !cfg_test(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.names.children.insert(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if self.pass == Pass::Imports {
            let before: BTreeSet<String> = self.names.known.keys().cloned().collect();
            self.names.import(&item.tree, &[]);
            // What is only passed on is not used here.
            if matches!(item.vis, syn::Visibility::Inherited) {
                let new = self.names.known.iter().filter(|(name, _)| !before.contains(*name));
                let new: Vec<Module> = new.map(|(_, path)| path.clone()).collect();
                self.names.used.extend(new);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if self.pass == Pass::Paths && path.segments.len() > 1 {
            let words: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.names.used.extend(self.names.resolve(&words));
        }
        syn::visit::visit_path(self, path);
    }
}

/// Each set of files of which every one leads to every other, with the uses that tie it.
fn circles(code: &Crate<'_>) -> Vec<Breach> {
    let edges = code.edges();
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        edges.keys().map(|from| (*from, reachable(from, &edges))).collect();
    let mut found = BTreeSet::new();
    for (from, to) in &reach {
        let circle: BTreeSet<&Module> =
            to.iter().filter(|other| reach[**other].contains(*from)).copied().collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    let breach = |circle: BTreeSet<&Module>| {
        let files: Vec<&str> = circle.iter().map(|module| code.files[*module]).collect();
        let place = files.join(" ");
        let tie = |from: &&Module| {
            let to = edges[*from].iter().filter(|to| circle.contains(**to));
            let to: Vec<&str> = to.map(|module| code.files[*module]).collect();
            format!("\n    {} uses {}", code.files[*from], to.join(", "))
        };
        let text = format!("{place}: a circle{}", circle.iter().map(tie).collect::<String>());
        Breach { rule: "circle", place, text }
    };
    found.into_iter().map(breach).collect()
}

fn reachable<'t>(
    from: &'t Module,
    edges: &BTreeMap<&'t Module, BTreeSet<&'t Module>>,
) -> BTreeSet<&'t Module> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for to in edges.get(module).into_iter().flatten() {
            if seen.insert(*to) {
                next.push(to);
            }
        }
    }
    seen
}
