use super::*;

struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("rrun-root-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("root/in")).unwrap();
        std::fs::write(dir.join("outside"), b"outside").unwrap();
        Scratch(dir)
    }

    fn root(&self, rule: Rule) -> RootDir {
        RootDir::open(&self.0.join("root"), rule).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|e| e.raw_os_error())
}

#[test]
fn beneath_a_link_that_leads_out_is_refused_even_if_it_would_come_back() {
    let scratch = Scratch::new("beneath");
    let root = scratch.root(Rule::Beneath);
    root.symlink(&path("up"), b"../outside").unwrap();
    root.symlink(&path("abs"), b"/in").unwrap();
    root.symlink(&path("good"), b"in").unwrap();
    assert_eq!(errno(root.lookup(&path("up"))), Some(libc::EXDEV));
    assert_eq!(errno(root.lookup(&path("abs"))), Some(libc::EXDEV));
    assert_eq!(errno(root.create_file(&path("abs/x"), Mode::S_IRUSR)), Some(libc::EXDEV));
    root.create_file(&path("good/x"), Mode::S_IRUSR).unwrap();
    root.lookup(&path("in/x")).unwrap();
}

#[test]
fn in_root_an_absolute_link_and_dotdot_at_the_top_mean_the_root() {
    let scratch = Scratch::new("inroot");
    let root = scratch.root(Rule::InRoot);
    root.symlink(&path("abs"), b"/in").unwrap();
    root.symlink(&path("up"), b"../../../../in").unwrap();
    root.create_file(&path("abs/x"), Mode::S_IRUSR).unwrap();
    root.lookup(&path("up/x")).unwrap();
    root.symlink(&path("out"), b"../outside").unwrap();
    assert_eq!(errno(root.lookup(&path("out"))), Some(libc::ENOENT));
}

#[test]
fn missing_directories_are_made_and_named() {
    let scratch = Scratch::new("mkdir");
    let root = scratch.root(Rule::Beneath);
    let made = root.mkdir_all(&path("in/a/b"), Mode::from_bits_truncate(0o755)).unwrap();
    assert_eq!(made, [path("in/a"), path("in/a/b")]);
    assert!(root.mkdir_all(&path("in/a/b"), Mode::empty()).unwrap().is_empty());
    root.create_file(&path("in/f"), Mode::S_IRUSR).unwrap();
    assert_eq!(errno(root.mkdir_all(&path("in/f/x"), Mode::empty())), Some(libc::ENOTDIR));
}

#[test]
fn a_tree_is_removed_without_following_its_links() {
    let scratch = Scratch::new("remove");
    let root = scratch.root(Rule::Beneath);
    root.mkdir_all(&path("in/a/b"), Mode::from_bits_truncate(0o755)).unwrap();
    root.symlink(&path("in/a/link"), b"../../../outside").unwrap();
    root.remove_tree(&path("in")).unwrap();
    assert!(root.place(&path("in")).unwrap().stat().unwrap().is_none());
    assert!(scratch.0.join("outside").exists());
}

#[test]
fn a_hard_link_to_a_symlink_links_the_symlink_itself() {
    let scratch = Scratch::new("hardlink");
    let root = scratch.root(Rule::Beneath);
    root.symlink(&path("s"), b"../outside").unwrap();
    root.hardlink(&path("in/h"), &path("s")).unwrap();
    let there = scratch.0.join("root/in/h");
    assert_eq!(std::fs::read_link(there).unwrap().to_str(), Some("../outside"));
}
