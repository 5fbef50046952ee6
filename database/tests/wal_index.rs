//! What a WAL-index tells of commits of this process and of another one.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use rrun_database::{Commit, Database, Error, WalIndex};
use rusqlite::Connection;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

/// Where the other process finds its folder.
const FOLDER: &str = "RRUN_TEST_COMMITS_IN";

/// One row of two numbers, which are the same after each commit.
const DATABASE: Database = Database {
    file: "trial.db",
    lock: "trial.lock",
    version: 1,
    schema: "CREATE TABLE pair (one INTEGER, other INTEGER); INSERT INTO pair VALUES (0, 0)",
    upgrade: None,
};

/// The database; it is closed before its lock is let go of.
struct Opened {
    db: Connection,
    _lock: File,
}

fn open(folder: &Path) -> Opened {
    let lock = DATABASE.lock(folder).unwrap();
    Opened { db: DATABASE.open(folder, &lock, Ok::<_, Error>).unwrap(), _lock: lock }
}

fn index(opened: &Opened) -> WalIndex {
    WalIndex::of(&opened.db).unwrap()
}

fn value(db: &Opened) -> i64 {
    let sql = "SELECT one, other FROM pair";
    let pair: (i64, i64) = db.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(pair.0, pair.1);
    pair.0
}

fn add(db: &mut Opened) -> i64 {
    let tx = db.db.transaction().unwrap();
    tx.execute("UPDATE pair SET one=one+1", []).unwrap();
    tx.execute("UPDATE pair SET other=other+1", []).unwrap();
    tx.commit().unwrap();
    value(db)
}

fn checkpoint(db: &Opened, kind: &str) {
    db.db.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |_| Ok(())).unwrap();
}

/// Another process that does what it is told, line by line, and answers with a number.
struct Other {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Other {
    fn start(folder: &Path) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "body", "--nocapture"]).env(FOLDER, folder);
        // What it answers is on the one stream that the test harness leaves alone.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Other { child, said }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    fn answer(&mut self) -> i64 {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().parse().expect(&line)
    }

    fn ask(&mut self, what: &str) -> i64 {
        self.tell(what);
        self.answer()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It ends with its last line.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the other tests run it as a process of its own"]
fn body() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut db = Some(open(&folder));
    let returned = File::create(folder.join("returned")).unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let number = match (words[..].first().copied().unwrap(), &mut db) {
            ("enter", gone) => {
                *gone = Some(open(&folder));
                0
            }
            ("leave", open) => {
                *open = None;
                0
            }
            // The second copy of the header, as a commit begins with it.
            ("tear", None) => {
                let shm = OpenOptions::new().write(true).open(folder.join("trial.db-shm")).unwrap();
                shm.write_all_at(&[7; 8], 48 + 16).unwrap();
                0
            }
            ("add", Some(db)) => add(db),
            ("checkpoint", Some(db)) => {
                checkpoint(db, words[1]);
                0
            }
            ("many", Some(db)) => {
                let mut last = 0;
                for _ in 0..words[1].parse().unwrap() {
                    last = add(db);
                    returned.write_all_at(&last.to_ne_bytes(), 0).unwrap();
                }
                last
            }
            other => panic!("{}", other.0),
        };
        writeln!(std::io::stderr(), "{number}").unwrap();
    }
}

#[test]
fn a_commit_of_any_process_is_told_when_it_has_returned_and_nothing_else_but_a_log_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = open(folder.path());
    let mut other = Other::start(folder.path());
    other.ask("add");
    let index = index(&db);
    for round in 0..1000 {
        let then = index.last_commit();
        let before = value(&db);
        assert!(then.is_some());
        other.ask("checkpoint PASSIVE");
        assert_eq!(index.last_commit(), then, "nothing was committed");
        match round % 10 {
            3 => checkpoint(&db, "RESTART"),
            5 => drop(other.ask("checkpoint RESTART")),
            7 => drop(other.ask("checkpoint TRUNCATE")),
            8 => {
                other.ask("leave");
                other.ask("enter");
            }
            _ => {}
        }
        let then = index.last_commit();
        assert!(then.is_some());
        let added = if round % 4 == 0 { add(&mut db) } else { other.ask("add") };
        assert_eq!(added, before + 1);
        assert_ne!(index.last_commit(), then, "round {round}");
        assert_eq!(value(&db), added);
    }
}

#[test]
fn what_is_kept_misses_no_commit_that_has_returned_while_another_process_commits_without_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    let mut other = Other::start(folder.path());
    let count = other.ask("many 1") + 3000;
    let index = index(&db);
    let file = File::open(folder.path().join("returned")).unwrap();
    let returned = || {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        i64::from_ne_bytes(bytes)
    };
    other.tell("many 3000");
    let mut kept: Option<(Commit, i64)> = None;
    loop {
        let returned = returned();
        match kept {
            Some((then, value)) if index.last_commit() == Some(then) => {
                assert!(value >= returned, "{value} is told after {returned}");
                if value == count {
                    break;
                }
            }
            _ => {
                let then = index.last_commit();
                let value = value(&db);
                assert!(value >= returned);
                kept = then.map(|then| (then, value));
            }
        }
    }
    assert_eq!(other.answer(), count);
}

#[test]
fn a_header_of_which_a_commit_was_broken_off_tells_nothing_until_it_is_made_whole() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    let index = index(&db);
    let mut other = Other::start(folder.path());
    let added = other.ask("add");
    assert!(index.last_commit().is_some());
    // No descriptor that it closes takes locks of SQLite along.
    other.ask("leave");
    other.ask("tear");
    assert_eq!(index.last_commit(), None);
    assert_eq!(value(&db), added, "SQLite makes it whole");
    let then = index.last_commit();
    assert!(then.is_some());
    other.ask("enter");
    assert_eq!(other.ask("add"), added + 1);
    assert_ne!(index.last_commit(), then);
}

#[test]
fn one_that_was_removed_with_its_last_user_is_told_of_by_whoever_opens_the_database_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trial.db-shm");
    for round in 0..20 {
        let mut other = Other::start(folder.path());
        assert_eq!(other.ask("add"), 2 * round + 1);
        other.ask("leave");
        assert!(!file.exists());
        let db = open(folder.path());
        let index = index(&db);
        let then = index.last_commit();
        assert!(then.is_some());
        assert_eq!(value(&db), 2 * round + 1);
        other.ask("enter");
        other.ask("add");
        assert_ne!(index.last_commit(), then);
        drop((index, db));
    }
}

#[test]
fn a_database_that_has_none_in_a_file_is_not_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, settings: &[(&str, &str)]| {
        let db = Connection::open(folder.path().join(name)).unwrap();
        for (name, value) in settings {
            db.pragma_update(None, name, value).unwrap();
        }
        db.execute_batch("CREATE TABLE pair (one INTEGER)").unwrap();
        WalIndex::of(&db).is_some()
    };
    assert!(with("shared", &[("journal_mode", "WAL")]));
    assert!(!with("other", &[("journal_mode", "DELETE")]));
    assert!(!with("alone", &[("locking_mode", "EXCLUSIVE"), ("journal_mode", "WAL")]));
    assert!(WalIndex::of(&Connection::open_in_memory().unwrap()).is_none());
}
