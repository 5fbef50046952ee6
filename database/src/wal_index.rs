//! Whether a database has changed, told without a call that may wait: by the header of its WAL-index,
//! which SQLite itself compares before it takes what it has read for what is there
//! (<https://sqlite.org/walformat.html#walidxfmt>).

use rrun_sys::first_page::FirstPage;
use rusqlite::Connection;

/// How many words a header has. There are two copies at the beginning; a writer fills the second one
/// first, and its commit returns after the first one.
const WORDS: usize = 12;

/// The one format that there is: `iVersion`, the first word.
const VERSION: u32 = 3_007_000;

/// The byte that says that the header has been filled: `isInit`.
const IS_INIT: usize = 12;

/// The WAL-index of a database that this process has open.
///
/// As long as it has, no process shortens, removes or replaces the file: SQLite does so under a lock
/// that whoever has the database open does not let it have. So it must not be asked any more when the
/// connection is closed.
#[derive(Debug)]
pub struct WalIndex {
    page: FirstPage,
}

/// A commit, as the one that was the last. It has a count of all, the length of the log, a checksum
/// of all in it, and a number by chance from whenever the log began anew: two that are equal are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit([u32; WORDS]);

impl WalIndex {
    /// That of the database of `connection`. None where it has none in a file (in another journal
    /// mode, or where one process has it alone), or where its page cannot be kept in memory: then
    /// SQLite is to be asked.
    pub fn of(connection: &Connection) -> Option<WalIndex> {
        // A reading, if there was none before: with that it has its WAL-index open.
        let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
        super::version(connection).ok()?;
        if mode.ok()? != "wal" {
            return None;
        }
        let path = format!("{}-shm", connection.path()?);
        match FirstPage::map(path.as_ref()) {
            Ok(page) => Some(WalIndex { page }),
            Err(error) => {
                let reason = rrun_error::reason(&error);
                tracing::debug!(path, "SQLite is asked for changes each time: {reason}");
                None
            }
        }
    }

    /// The last commit. What is read of the database after this was asked has it, and perhaps later
    /// ones; and as long as the same is told, no other one has returned, of whichever process. None
    /// while it cannot be told: during a commit, and after one that was broken off.
    pub fn last_commit(&self) -> Option<Commit> {
        let words = self.page.words::<{ 2 * WORDS }>();
        // The first one before the second, as `FirstPage::words` promises: a commit that comes to the
        // first one meanwhile has filled the second one before.
        let (first, second) = words.split_at(WORDS);
        let is_filled = words[IS_INIT / 4].to_ne_bytes()[IS_INIT % 4] != 0;
        let first: [u32; WORDS] = first.try_into().ok()?;
        (first == second && is_filled && first[0] == VERSION).then_some(Commit(first))
    }
}
