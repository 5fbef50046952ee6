//! Collecting images: what [`crate::gc`] decides, carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::statvfs::statvfs;
use rrun_sys::step;
use rusqlite::{Connection, Transaction};

use super::image_rows::{self, ImageRow};
use super::journal::{self, Entry, Origin};
use super::records;
use super::{Disk, disk_usage, resolve};
use crate::digest::ImageId;
use crate::error::{Context, Error, Kind, Result};
use crate::gc::{
    self, Amount, Keep, Known, KnownImage, KnownLayer, PERIOD, Plan, Policy, Room, Verdict,
};

/// An empty folder whose lock is held by whoever collects, and whose time of change is that of the
/// last collection. It is made when the store is opened, because a full disk has no room for it.
const TURN: &str = "collected";

/// What was decided about an image.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The image.
    pub id: ImageId,
    /// Its names, tags and digests.
    pub names: Vec<String>,
    /// When it was last used, to the second.
    pub last_used: SystemTime,
    /// What is done with it.
    pub verdict: Verdict,
}

/// A collection, done or planned.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// The file system of the images, as it was before.
    pub room: Room,
    /// What was to be freed.
    pub wanted: Amount,
    /// What the removals free.
    pub frees: Amount,
    /// Of every image: those that go in their order, then the others.
    pub decisions: Vec<Decision>,
    /// What could not be removed, and why.
    pub failures: Vec<String>,
}

impl Collection {
    /// What went wrong, in the kubelet's words: removals that failed, or too little to remove.
    pub fn trouble(&self) -> Option<String> {
        let (wanted, freed) = (self.wanted, self.frees);
        if !self.failures.is_empty() {
            let (wanted, freed, why) = (wanted.bytes, freed.bytes, self.failures.join(", "));
            return Some(format!(
                "wanted to free {wanted} bytes, but freed {freed} bytes space with errors in image \
                 deletion: {why}"
            ));
        }
        self.is_short().then(|| gc::shortage(&self.room, wanted, freed))
    }

    /// Whether it freed less than was wanted, though nothing failed.
    pub fn is_short(&self) -> bool {
        let (wanted, freed) = (self.wanted, self.frees);
        self.failures.is_empty() && (freed.bytes < wanted.bytes || freed.inodes < wanted.inodes)
    }

    /// The images that are there after it.
    pub fn present(&self) -> BTreeSet<String> {
        let stay = |one: &&Decision| matches!(one.verdict, Verdict::Keep(_));
        self.decisions.iter().filter(stay).map(|one| one.id.to_string()).collect()
    }
}

impl Disk {
    /// See [`crate::Store::plan_collection`].
    pub(crate) fn plan_collection(
        &self,
        policy: &Policy,
        spared: &BTreeSet<String>,
    ) -> Result<Collection> {
        let room = self.room()?;
        self.records(|r| {
            r.read(|tx| {
                let (rows, known) = self.known(tx, spared)?;
                let plan = gc::plan(policy, &room, &known, seconds(SystemTime::now()));
                Ok(collection(room, rows, &plan))
            })
        })
    }

    /// See [`crate::Store::collect_images`].
    pub(crate) fn collect_images(
        &self,
        policy: &Policy,
        spared: &BTreeSet<String>,
    ) -> Result<Option<Collection>> {
        let Some(turn) = self.turn()? else { return Ok(None) };
        self.collect_in_turn(policy, spared, &turn).map(Some)
    }

    /// See [`crate::Store::collect_images_when_due`].
    pub(crate) fn collect_images_when_due(
        &self,
        policy: &Policy,
        spared: &BTreeSet<String>,
    ) -> Result<(Option<Collection>, Duration)> {
        let Some(turn) = self.turn()? else { return Ok((None, PERIOD)) };
        let last = turn.metadata().and_then(|meta| meta.modified()).context(TURN)?;
        // A clock that was set back makes it due when that time has come again, or in a period.
        let since = SystemTime::now().duration_since(last).unwrap_or_default();
        if since < PERIOD {
            return Ok((None, PERIOD - since));
        }
        Ok((Some(self.collect_in_turn(policy, spared, &turn)?), PERIOD))
    }

    /// See [`crate::Store::prune`].
    pub(crate) fn prune(&self, all: bool, spared: &BTreeSet<String>) -> Result<Collection> {
        let room = self.room()?;
        let planned = self.records(|r| {
            r.read(|tx| {
                let (rows, known) = self.known(tx, spared)?;
                let has_tag = |row: &ImageRow| {
                    row.names.iter().any(|(_, kind)| *kind == records::NameKind::Tag)
                };
                let named: Vec<bool> = rows.iter().map(|row| !all && has_tag(row)).collect();
                Ok(collection(room, rows, &gc::prune(&known, &named)))
            })
        })?;
        self.carry_out(planned, Origin::Person)
    }

    fn collect_in_turn(
        &self,
        policy: &Policy,
        spared: &BTreeSet<String>,
        turn: &File,
    ) -> Result<Collection> {
        // Layers that nobody has are not what images should make room for.
        self.collect(Vec::new())?;
        let planned = self.plan_collection(policy, spared)?;
        let is_asked = planned.wanted != Amount::default();
        let done = self.carry_out(planned, Origin::Collection)?;
        if is_asked && let Err(e) = self.record_kept(&done) {
            tracing::warn!("why images stayed is not on record: {e}");
        }
        turn.set_modified(SystemTime::now()).context(TURN)?;
        Ok(done)
    }

    /// `None` while another process collects.
    fn turn(&self) -> Result<Option<File>> {
        let path = self.path(TURN);
        let folder = File::open(&path).context(path.display())?;
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e).context(path.display()),
        }
    }

    /// Bytes and inodes of the file system of the images. What is in the trash is as good as free.
    pub(super) fn room(&self) -> Result<Room> {
        let root = &self.inner.config.root;
        let found = statvfs(root).context(format_args!("statvfs {}", root.display()))?;
        if found.blocks() == 0 {
            return Err(Error::new(Kind::Unavailable, "invalid capacity 0 on image filesystem"));
        }
        let going = self.records(|r| r.read(disk_usage::trash_size))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        let capacity = Amount { bytes: bytes(found.blocks()), inodes: found.files() };
        let available = Amount {
            bytes: (bytes(found.blocks_available()) + going.bytes).min(capacity.bytes),
            inodes: (found.files_available() + going.inodes).min(capacity.inodes),
        };
        Ok(Room { capacity, available })
    }

    /// What there is, and why of it stays what must.
    fn known(&self, tx: &Connection, spared: &BTreeSet<String>) -> Result<(Vec<ImageRow>, Known)> {
        let mut named = BTreeSet::new();
        for name in spared {
            named.extend(resolve(tx, name)?.map(|id| id.to_string()));
        }
        let (places, layers) = layers(tx)?;
        let rows = image_rows::images(tx, None)?;
        let mut images = Vec::new();
        for row in &rows {
            let keys = records::image_layers(tx, &row.id)?;
            let of_image = keys.iter().filter_map(|key| places.get(key.as_str()).copied());
            let keep = if let Some(holder) = row.holders.first() {
                Some(Keep::InUse(holder.to_string()))
            } else if self.is_pinned(row) {
                Some(Keep::Pinned)
            } else {
                named.contains(&row.id.to_string()).then_some(Keep::Named)
            };
            let (detected, used) = (seconds(row.detected), seconds(row.used));
            images.push(KnownImage { detected, used, keep, layers: of_image.collect() });
        }
        Ok((rows, Known { layers, images }))
    }

    /// Removes what is to go, unless somebody has it by now.
    fn carry_out(&self, mut planned: Collection, origin: Origin) -> Result<Collection> {
        let room = planned.room;
        for one in &mut planned.decisions {
            let Verdict::Remove { why, frees } = &one.verdict else { continue };
            let words = format!("{why}; {room} were used");
            match self.remove_unheld(&one.id, (origin, &words)) {
                Ok(None) => {
                    tracing::info!(image = %one.id, bytes = frees.bytes, "removed: {words}");
                    continue;
                }
                Ok(Some(holder)) => one.verdict = Verdict::Keep(Keep::InUse(holder)),
                Err(e) => {
                    planned.failures.push(format!("remove image {}: {e}", one.id));
                    one.verdict = Verdict::Keep(Keep::NotRemoved(e.to_string()));
                }
            }
        }
        let freed = planned.decisions.iter().filter_map(|one| match &one.verdict {
            Verdict::Remove { frees, .. } => Some(*frees),
            Verdict::Keep(_) => None,
        });
        planned.frees = freed.clone().fold(Amount::default(), |sum, one| sum + one);
        self.inner.counters.collected(freed.count(), planned.frees.bytes, planned.failures.len());
        Ok(planned)
    }

    /// Who has it by now, if it is not removed.
    fn remove_unheld(&self, id: &ImageId, why: (Origin, &str)) -> Result<Option<String>> {
        let take_out =
            |tx: &Transaction<'_>| match image_rows::images(tx, Some(id))?.into_iter().next() {
                None => Ok(Err("somebody who removed it".to_owned())),
                Some(row) => match row.holders.first() {
                    Some(holder) => Ok(Err(holder.to_string())),
                    None => self.take_out(tx, id, why).map(Ok),
                },
            };
        let done = step::run("images.collect.record", || self.records(|r| r.give_back(take_out)))?;
        match done {
            Ok(layers) => self.collect(layers).map(|()| None),
            Err(holder) => Ok(Some(holder)),
        }
    }

    /// Records why the others stayed when room was wanted.
    fn record_kept(&self, done: &Collection) -> Result<()> {
        self.records(|r| {
            r.give_back(|tx| {
                for one in &done.decisions {
                    let Verdict::Keep(why) = &one.verdict else { continue };
                    let entry = Entry {
                        at: UNIX_EPOCH,
                        image: one.id.clone(),
                        names: one.names.clone(),
                        is_removed: false,
                        origin: Origin::Collection,
                        why: why.to_string(),
                        bytes: 0,
                    };
                    journal::add(tx, &entry)?;
                }
                Ok(())
            })
        })
    }
}

/// All layers, and where in the list each is.
fn layers(tx: &Connection) -> Result<(BTreeMap<String, usize>, Vec<KnownLayer>)> {
    let mut select = tx.prepare_cached(
        "SELECT l.key, l.bytes + l.split, l.inodes + (l.split > 0),
             (SELECT count(*) FROM image_layer o WHERE o.key=l.key)
             + (SELECT count(*) FROM layer_lease o WHERE o.key=l.key)
         FROM layer l",
    )?;
    let rows = select.query_map([], |r| {
        let (bytes, inodes): (i64, i64) = (r.get(1)?, r.get(2)?);
        Ok((r.get::<_, String>(0)?, bytes, inodes, r.get::<_, i64>(3)?))
    })?;
    let (mut places, mut layers) = (BTreeMap::new(), Vec::new());
    for row in rows {
        let (key, bytes, inodes, users) = row?;
        places.insert(key, layers.len());
        let size = Amount { bytes: bytes.cast_unsigned(), inodes: inodes.cast_unsigned() };
        layers.push(KnownLayer { size, users: users.cast_unsigned() });
    }
    Ok((places, layers))
}

fn collection(room: Room, rows: Vec<ImageRow>, plan: &Plan) -> Collection {
    let goes = |at: &usize| plan.removals.iter().position(|gone| gone == at);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| goes(at).unwrap_or(usize::MAX));
    let mut rows: Vec<Option<ImageRow>> = rows.into_iter().map(Some).collect();
    let decisions = order.into_iter().filter_map(|at| {
        let row = rows[at].take()?;
        let names = row.names.into_iter().map(|(name, _)| name).collect();
        let verdict = plan.verdicts[at].clone();
        Some(Decision { id: row.id, names, last_used: row.used, verdict })
    });
    let decisions = decisions.collect();
    Collection { room, wanted: plan.wanted, frees: plan.frees, decisions, failures: Vec::new() }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
