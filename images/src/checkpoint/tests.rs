use super::*;
use ::tar::{Builder, EntryType, Header};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

type Kind = EntryType;

fn archive(entries: &[(&str, Kind, &str, &[u8])]) -> Vec<u8> {
    let mut out = Builder::new(Vec::new());
    for (name, kind, link, data) in entries {
        let mut header = Header::new_gnu();
        // As written: the crate would take out `..`.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        header.set_cksum();
        out.append(&header, *data).unwrap();
    }
    out.into_inner().unwrap()
}

struct Folders {
    dir: tempfile::TempDir,
}

impl Folders {
    fn new() -> Folders {
        let dir = tempfile::tempdir().unwrap();
        for name in ["images", "upper"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Folders { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn checkpoint(&self, bytes: &[u8]) -> Checkpoint {
        std::fs::write(self.at("archive"), bytes).unwrap();
        Checkpoint::open(&self.at("archive")).unwrap()
    }

    fn unpack(&self, entries: &[(&str, Kind, &str, &[u8])]) -> Result<()> {
        self.checkpoint(&archive(entries)).unpack(&self.at("images"), &self.at("upper"))
    }
}

#[test]
fn documents_processes_and_changes_come_out_of_an_archive() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    let folders = Folders::new();
    let changes = archive(&[
        ("etc/", Kind::Directory, "", b""),
        ("etc/new", Kind::Regular, "", b"new"),
        ("etc/link", Kind::Symlink, "/new", b""),
    ]);
    let bytes = archive(&[
        ("./checkpoint/", Kind::Directory, "", b""),
        ("./checkpoint/pages-1.img", Kind::Regular, "", b"pages"),
        ("config.dump", Kind::Regular, "", b"{}"),
        ("deleted.files", Kind::Regular, "", br#"["/etc/passwd","/var/run"]"#),
        ("rootfs-diff.tar", Kind::Regular, "", &changes),
        ("spec.dump", Kind::Regular, "", b"[]"),
        ("something/else", Kind::Fifo, "", b""),
    ]);
    let checkpoint = folders.checkpoint(&bytes);
    let documents = Documents { config: b"{}".to_vec(), spec: b"[]".to_vec() };
    assert_eq!(checkpoint.documents().unwrap(), documents);
    checkpoint.unpack(&folders.at("images"), &folders.at("upper")).unwrap();
    assert_eq!(std::fs::read(folders.at("images/pages-1.img")).unwrap(), b"pages");
    assert_eq!(std::fs::read(folders.at("upper/etc/new")).unwrap(), b"new");
    for hidden in ["upper/etc/passwd", "upper/var/run"] {
        let found = std::fs::symlink_metadata(folders.at(hidden)).unwrap();
        assert!(found.file_type().is_char_device() && found.rdev() == 0, "{hidden}");
    }
}

#[test]
fn nothing_of_a_hostile_archive_is_written_elsewhere() {
    let regular = Kind::Regular;
    let outside = |folders: &Folders| {
        let names = std::fs::read_dir(folders.dir.path()).unwrap().flatten();
        let names: BTreeSet<_> = names.map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["archive", "images", "upper"].map(Into::into).into());
    };
    for (name, kind, link, why) in [
        ("checkpoint/../x", regular, "", "no name of a file"),
        ("checkpoint//x", regular, "", "no name of a file"),
        ("checkpoint/a/x", regular, "", "no name of a file"),
        ("checkpoint/..", regular, "", "no name of a file"),
        ("checkpoint/x", Kind::Symlink, "/etc", "no regular file"),
        ("checkpoint/x", Kind::Link, "/etc/passwd", "no regular file"),
        ("checkpoint/x", Kind::Char, "", "no regular file"),
        ("checkpoint/x/", Kind::Directory, "", "no regular file"),
        ("rootfs-diff.tar", Kind::Symlink, "/etc", "no regular file"),
        ("deleted.files", Kind::Fifo, "", "no regular file"),
    ] {
        let folders = Folders::new();
        let refused = folders.unpack(&[(name, kind, link, b"")]).unwrap_err();
        assert!(refused.to_string().contains(why), "{name}: {refused}");
        outside(&folders);
    }
    let twice = [("checkpoint/x", regular, "", &b"1"[..]); 2];
    let refused = Folders::new().unpack(&twice).unwrap_err();
    assert!(refused.to_string().contains("x: EEXIST"), "{refused}");
    let long = vec![b'['; 5 << 20];
    let refused = Folders::new().unpack(&[("deleted.files", regular, "", &long)]).unwrap_err();
    assert!(refused.to_string().contains("4194304 are the most"), "{refused}");
    let deep = vec![b'['; 1 << 20];
    let refused = Folders::new().unpack(&[("deleted.files", regular, "", &deep)]).unwrap_err();
    assert!(refused.to_string().contains("deleted.files: "), "{refused}");
}

#[test]
fn changes_and_deletions_stay_within_the_writable_layer() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    let folders = Folders::new();
    let target = folders.dir.path().to_str().unwrap().to_owned();
    let changes = archive(&[
        ("out", Kind::Symlink, &target, b""),
        ("out/x", Kind::Regular, "", b"within"),
        ("up", Kind::Symlink, "../../..", b""),
        ("up/y", Kind::Regular, "", b"within"),
        ("/absolute", Kind::Regular, "", b"within"),
    ]);
    let deleted = format!(r#"["/out/images","{target}/archive"]"#);
    let entries = [
        ("rootfs-diff.tar", Kind::Regular, "", &*changes),
        ("deleted.files", Kind::Regular, "", deleted.as_bytes()),
    ];
    folders.unpack(&entries).unwrap();
    assert!(folders.at("images").is_dir() && folders.at("archive").is_file());
    assert!(!folders.at("x").exists() && !folders.at("y").exists());
    assert_eq!(std::fs::read(folders.at("upper/absolute")).unwrap(), b"within");
    assert_eq!(std::fs::read(folders.at("upper/y")).unwrap(), b"within");
    let beyond = archive(&[("../x", Kind::Regular, "", b"")]);
    for (name, data) in [("rootfs-diff.tar", &*beyond), ("deleted.files", br#"["/../x"]"#)] {
        let refused = Folders::new().unpack(&[(name, Kind::Regular, "", data)]).unwrap_err();
        assert!(refused.to_string().contains("leads out of the layer"), "{refused}");
    }
}

#[test]
fn what_is_no_checkpoint_is_refused_by_name() {
    let folders = Folders::new();
    let refused = folders.checkpoint(b"").documents().unwrap_err();
    assert!(refused.to_string().contains("there is no config.dump in it"), "{refused}");
    let one = archive(&[("config.dump", Kind::Regular, "", b"{}")]);
    let refused = folders.checkpoint(&one).documents().unwrap_err();
    assert!(refused.to_string().contains("there is no spec.dump in it"), "{refused}");
    folders.checkpoint(&[1; 1024]).documents().unwrap_err();
    std::os::unix::fs::symlink("archive", folders.at("link")).unwrap();
    for name in ["link", "images", "missing"] {
        Checkpoint::open(&folders.at(name)).unwrap_err();
    }
}

#[test]
fn files_of_shared_memory_are_refused_by_name_and_an_empty_one_is_not() {
    let folder = archive(&[("./", Kind::Directory, "", b"")]);
    let empty = [("devshm-checkpoint.tar", Kind::Regular, "", &*folder)];
    Folders::new().unpack(&empty).unwrap();
    let file = archive(&[("./", Kind::Directory, "", b""), ("./x", Kind::Regular, "", b"1")]);
    let refused = Folders::new().unpack(&[("devshm-checkpoint.tar", Kind::Regular, "", &file)]);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("/dev/shm/x: files in shared memory cannot be restored"), "{refused}");
}
