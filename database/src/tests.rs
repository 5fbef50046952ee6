#![allow(clippy::unwrap_used)]

use super::*;

const DATABASE: Database = Database {
    file: "trial.db",
    lock: "trial.lock",
    version: 1,
    schema: "CREATE TABLE word (text TEXT)",
    upgrade: None,
};

/// The database and its lock; `fill` writes a word.
fn open(folder: &Path) -> Result<(Connection, File), Error> {
    let lock = DATABASE.lock(folder)?;
    let fill = |connection: Connection| -> Result<Connection, Error> {
        connection.execute("INSERT INTO word VALUES ('again')", [])?;
        Ok(connection)
    };
    Ok((DATABASE.open(folder, &lock, fill)?, lock))
}

fn words(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM word", [], |row| row.get(0)).unwrap()
}

fn damage(folder: &Path) {
    fs::write(folder.join("trial.db"), "no database, for sure".repeat(400)).unwrap();
}

fn aside(folder: &Path) -> bool {
    folder.join("trial.db.damaged").exists()
}

#[test]
fn a_database_that_is_gone_or_set_aside_by_whoever_knows_better_is_filled_anew() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path()).unwrap();
    opened.0.execute("INSERT INTO word VALUES ('lost')", []).unwrap();
    assert!(matches!(DATABASE.renew(folder.path()), Err(Error::InUse)));
    drop(opened);
    assert_eq!(words(&open(folder.path()).unwrap().0), 2);
    DATABASE.renew(folder.path()).unwrap();
    assert!(aside(folder.path()));
    assert_eq!(words(&open(folder.path()).unwrap().0), 1);
    // One that could not be filled is none.
    DATABASE.renew(folder.path()).unwrap();
    let lock = DATABASE.lock(folder.path()).unwrap();
    let failed = DATABASE.open(folder.path(), &lock, |_| Err(Error::InUse));
    assert!(failed.is_err() && !folder.path().join("trial.db").exists());
    drop(lock);
    assert_eq!(words(&open(folder.path()).unwrap().0), 1);
}

#[test]
fn a_look_reads_beside_whoever_has_it_open_changes_nothing_and_tells_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let look = || DATABASE.look(folder.path());
    let fault = || look().unwrap().records.unwrap_err();
    assert_eq!(fault(), "it is gone");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let opened = open(folder.path()).unwrap();
    let seen = look().unwrap();
    assert_eq!(words(seen.records.as_ref().unwrap()), 1);
    seen.records.as_ref().unwrap().execute("DELETE FROM word", []).unwrap_err();
    drop((opened, seen));
    damage_a_page_of_rows(folder.path());
    assert!(fault().starts_with("it is damaged: "));
    assert!(!aside(folder.path()));
    damage(folder.path());
    assert!(fault().starts_with("it is damaged: "));
    let path = folder.path().join("trial.db");
    fs::write(&path, "").unwrap();
    assert_eq!(fault(), "it has no tables");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    assert!(matches!(look(), Err(Error::Version(7, 1))));
    let lock = DATABASE.lock(folder.path()).unwrap();
    lock.lock().unwrap();
    assert!(matches!(look(), Err(Error::Renewed)));
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_kept_and_the_new_one_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    damage(folder.path());
    let (connection, _lock) = open(folder.path()).unwrap();
    assert_eq!(words(&connection), 1);
    let kept = fs::read_to_string(folder.path().join("trial.db.damaged")).unwrap();
    assert!(kept.starts_with("no database"));
}

#[test]
fn what_is_no_file_is_set_aside_as_a_damaged_one_and_is_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&at("trial.db"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (connection, lock) = open(folder.path()).unwrap();
    assert_eq!(words(&connection), 1);
    assert!(aside(folder.path()));
    drop((connection, lock));
    fs::rename(at("trial.db.damaged"), at("trial.lock")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::File(name, _) if name == "trial.lock"));
}

#[test]
fn a_damaged_database_that_somebody_has_open_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path()).unwrap();
    // Whole in the file, so that nothing is read from the log instead.
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    opened.0.query_row(checkpoint, [], |_| Ok(())).unwrap();
    damage(folder.path());
    assert!(matches!(open(folder.path()), Err(Error::InUse)));
    assert!(!aside(folder.path()));
    drop(opened);
    open(folder.path()).unwrap();
    assert!(aside(folder.path()));
}

/// Has more rows than fit a page, and a page of those, not the first, overwritten.
fn damage_a_page_of_rows(folder: &Path) {
    let (connection, _lock) = open(folder).unwrap();
    for number in 0..400 {
        let word = format!("{number:0>80}");
        connection.execute("INSERT INTO word VALUES (?1)", [word]).unwrap();
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let path = folder.join("trial.db");
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 6 * 4096);
    bytes[4 * 4096..5 * 4096].fill(0x5a);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_database_that_is_damaged_beyond_its_schema_is_set_aside_too() {
    let folder = tempfile::tempdir().unwrap();
    damage_a_page_of_rows(folder.path());
    let (connection, _lock) = open(folder.path()).unwrap();
    assert_eq!(words(&connection), 1);
    assert!(aside(folder.path()));
}

#[test]
fn a_database_of_another_version_stays_though_its_tables_cannot_be_read_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trial.db");
    drop(open(folder.path()).unwrap());
    let connection = Connection::open(&path).unwrap();
    let later = "PRAGMA writable_schema = on;
        UPDATE sqlite_schema SET sql = 'CREATE TABLE word (text TEXT) AS OF TOMORROW';
        PRAGMA user_version = 7";
    connection.execute_batch(later).unwrap();
    drop(connection);
    let refused = open(folder.path()).unwrap_err();
    let expected =
        "they have version 7, this program knows 1: the release that wrote them reads them";
    assert_eq!(refused.to_string(), expected);
    assert!(!aside(folder.path()));
}

#[test]
fn what_is_not_damaged_is_never_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trial.db");
    open(folder.path()).unwrap().0.execute("INSERT INTO word VALUES ('kept')", []).unwrap();
    let set = |version: u32| {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
    };
    set(7);
    let refused = open(folder.path()).unwrap_err();
    let expected =
        "they have version 7, this program knows 1: the release that wrote them reads them";
    assert_eq!(refused.to_string(), expected);
    set(1);
    // Not to be opened: a folder in its place, as EIO and EACCES are (SQLITE_CANTOPEN).
    fs::rename(&path, folder.path().join("else")).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(open(folder.path()).is_err());
    fs::remove_dir(&path).unwrap();
    fs::rename(folder.path().join("else"), &path).unwrap();
    assert!(!aside(folder.path()));
    assert_eq!(words(&open(folder.path()).unwrap().0), 2);
}

#[test]
fn what_gives_something_back_is_recorded_on_a_full_disk_and_the_database_is_opened_there() {
    let folder = tempfile::tempdir().unwrap();
    if !small_disk(folder.path()) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let mut opened = open(folder.path()).unwrap();
    for number in 0..200 {
        opened.0.execute("INSERT INTO word VALUES (?1)", [number.to_string()]).unwrap();
    }
    let filler = folder.path().join("filler");
    fs::write(&filler, vec![0; 16 << 20]).unwrap_err();
    opened.0.execute("INSERT INTO word VALUES ('more')", []).unwrap_err();
    let is_full = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
    for number in 0..200 {
        let delete = |connection: &mut Connection| {
            connection.execute("DELETE FROM word WHERE text = ?1", [number.to_string()])
        };
        assert_eq!(give_back(&mut opened.0, is_full, delete).unwrap(), 1);
    }
    assert_eq!(words(&opened.0), 1);
    drop(opened);
    // With room there is something to keep again, and its side files are made from that.
    fs::remove_file(&filler).unwrap();
    drop(open(folder.path()).unwrap());
    fs::write(&filler, vec![0; 16 << 20]).unwrap_err();
    open(folder.path()).unwrap();
    nix::mount::umount2(folder.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// Mounts one at `folder`, for this test's thread alone.
fn small_disk(folder: &Path) -> bool {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
        && mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).is_ok()
        && mount(Some("small"), folder, Some("tmpfs"), MsFlags::empty(), Some("size=2m")).is_ok()
}

#[test]
fn a_new_database_is_opened_by_many_at_once() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| open(folder.path()).unwrap());
            }
        });
    }
}

#[test]
fn one_of_the_version_before_is_kept_and_brought_up_to_this_one_when_nobody_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let (old, held) = open(dir.path()).unwrap();
    old.execute("INSERT INTO word VALUES ('before')", []).unwrap();
    let next = Database {
        version: 2,
        schema: "CREATE TABLE word (text TEXT, number INTEGER)",
        upgrade: Some((1, "ALTER TABLE word ADD COLUMN number INTEGER NOT NULL DEFAULT 7")),
        ..DATABASE
    };
    let lock = next.lock(dir.path()).unwrap();
    let open_next = || next.open(dir.path(), &lock, Ok::<_, Error>);
    let refused = open_next().unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    let way_out = "another process has them open; when it has ended they are brought up to it";
    assert!(refused.to_string().contains(way_out), "{refused}");
    drop((old, held));
    let read = |db: &Connection| {
        let sql = "SELECT number FROM word WHERE text='before'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(read(&open_next().unwrap()), 7);
    assert_eq!(read(&open_next().unwrap()), 7, "once more");
    assert!(matches!(open(dir.path()).unwrap_err(), Error::Version(2, 1)));
}
