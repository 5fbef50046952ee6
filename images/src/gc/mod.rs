//! Which images are collected: the kubelet's algorithm (`pkg/kubelet/images/image_gc_manager.go`),
//! with two things that it cannot know: what an image shares with others, and how many inodes it
//! has. Pure: [`plan`] decides, the store does.

mod words;

pub use words::percent;
pub(crate) use words::shortage;

use std::ops::Add;
use std::time::Duration;

use crate::error::{Error, Result};

/// How often, as the kubelet does it (`ImageGCPeriod`).
pub const PERIOD: Duration = Duration::from_secs(300);

/// When images are collected, and which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    high_percent: u8,
    low_percent: u8,
    min_age: Duration,
    max_age: Duration,
}

/// The kubelet's defaults.
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            high_percent: 85,
            low_percent: 80,
            min_age: Duration::from_secs(120),
            max_age: Duration::ZERO,
        }
    }
}

impl Policy {
    /// Images are collected when `high` percent of the disk or of its inodes are used, until no
    /// more than `low` are. None that was first seen less than `min_age` ago; one that was not used
    /// for `max_age` (if that is not zero) whatever the disk says.
    ///
    /// # Errors
    /// `Invalid` as the kubelet's: above 100, or `low` not below `high`.
    pub fn new(high: u8, low: u8, min_age: Duration, max_age: Duration) -> Result<Policy> {
        for (key, value) in
            [("image_gc_high_threshold_percent", high), ("image_gc_low_threshold_percent", low)]
        {
            if value > 100 {
                return Err(Error::invalid(format_args!("{key}: {value}: want 0 to 100")));
            }
        }
        if low >= high {
            return Err(Error::invalid(format_args!(
                "image_gc_low_threshold_percent: {low}: must be less than \
                 image_gc_high_threshold_percent, {high}"
            )));
        }
        Ok(Policy { high_percent: high, low_percent: low, min_age, max_age })
    }

    /// Whether it never collects anything.
    pub fn is_off(&self) -> bool {
        self.high_percent == 100 && self.max_age.is_zero()
    }

    /// From so many percent on, down to so many.
    pub fn thresholds(&self) -> (u8, u8) {
        (self.high_percent, self.low_percent)
    }

    /// How much is to be freed of one kind of room; nothing where less than `high` is used. A file
    /// system without a fixed number of inodes says that it has none, and never wants any.
    fn wanted(&self, capacity: u64, available: u64) -> u64 {
        let used = percent(capacity, available);
        // The kubelet's 100 means never, though a disk may be used wholly.
        if capacity == 0 || self.high_percent == 100 || used < self.high_percent {
            return 0;
        }
        let kept = u128::from(capacity) * u128::from(100 - self.low_percent) / 100;
        u64::try_from(kept).unwrap_or(u64::MAX).saturating_sub(available)
    }
}

/// Bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        Amount { bytes: self.bytes + other.bytes, inodes: self.inodes + other.inodes }
    }
}

impl Amount {
    fn covers(self, wanted: Amount) -> bool {
        self.bytes >= wanted.bytes && self.inodes >= wanted.inodes
    }
}

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What there is.
    pub capacity: Amount,
    /// What of it can be had, what is being deleted included.
    pub available: Amount,
}

/// What is known of images and layers when a collection begins. Images refer to layers by their
/// places in the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub layers: Vec<KnownLayer>,
    pub images: Vec<KnownImage>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownLayer {
    pub size: Amount,
    /// Images, removed and held ones too, and running pulls that have it.
    pub users: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct KnownImage {
    /// When it was first seen, in seconds since the epoch.
    pub detected: u64,
    /// When it was last used, likewise.
    pub used: u64,
    /// Why it stays whatever the disk says.
    pub keep: Option<Keep>,
    /// Each once.
    pub layers: Vec<usize>,
}

/// What is done with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Keep),
    /// It goes.
    Remove {
        /// Why.
        why: Cause,
        /// What that frees: its layers that nobody has any more by then.
        frees: Amount,
    },
}

/// Why an image stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Somebody has it: a container, an exited one too, or a volume.
    InUse(String),
    /// The configuration pins it.
    Pinned,
    /// A pod of `rrun` names it, which may be about to make a container of it.
    Named,
    /// It is too young.
    Young,
    /// All of its layers stay with others.
    FreesNothing,
    /// Nothing more is to be freed.
    Enough,
    /// It was to go, and that failed.
    NotRemoved(String),
    /// A name leads to it, and only those without one are asked for.
    HasName,
}

/// Why an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was not used for longer than the maximum age.
    Age,
    /// The disk is used over the high threshold.
    Space,
    /// A person asked for the removal of what nobody uses.
    Pruned,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// What is to be freed.
    pub wanted: Amount,
    /// What the removals free together.
    pub frees: Amount,
    /// Places of images, in the order in which they go.
    pub removals: Vec<usize>,
    /// Of each image.
    pub verdicts: Vec<Verdict>,
}

/// What a collection does, at the time `now` in seconds since the epoch.
///
/// First go those that are past the maximum age. Then, if the disk wants it, the others: the longest
/// unused first, and of those that were used at one time the one that was seen first, until what is
/// wanted is freed. An image that would free nothing, because what stays has all of its layers, stays.
pub(crate) fn plan(policy: &Policy, room: &Room, known: &Known, now: u64) -> Plan {
    let wanted = Amount {
        bytes: policy.wanted(room.capacity.bytes, room.available.bytes),
        inodes: policy.wanted(room.capacity.inodes, room.available.inodes),
    };
    let mut work = Work::new(known, wanted);
    let age = |since: u64| Duration::from_secs(now.saturating_sub(since));
    let is_old = |at: &usize| {
        let image = &known.images[*at];
        !policy.max_age.is_zero() && age(image.used.max(image.detected)) > policy.max_age
    };
    let (old, rest): (Vec<usize>, Vec<usize>) = work.candidates().into_iter().partition(is_old);
    for at in old {
        work.remove(at, Cause::Age);
    }
    let is_young = |at: &usize| age(known.images[*at].detected) < policy.min_age;
    let (young, rest): (Vec<usize>, Vec<usize>) = rest.into_iter().partition(is_young);
    for at in young {
        work.plan.verdicts[at] = Verdict::Keep(Keep::Young);
    }
    let stays = work.staying(&rest);
    for at in rest {
        if work.plan.frees.covers(wanted) {
            break;
        }
        if known.images[at].layers.iter().all(|layer| stays[*layer]) {
            work.plan.verdicts[at] = Verdict::Keep(Keep::FreesNothing);
        } else {
            work.remove(at, Cause::Space);
        }
    }
    work.plan
}

/// Removes every image that nobody uses; of those in `named`, which have a name, none.
pub(crate) fn prune(known: &Known, named: &[bool]) -> Plan {
    let mut work = Work::new(known, Amount::default());
    for at in work.candidates() {
        match named.get(at) {
            Some(true) => work.plan.verdicts[at] = Verdict::Keep(Keep::HasName),
            _ => work.remove(at, Cause::Pruned),
        }
    }
    work.plan
}

/// A plan in the making.
struct Work<'a> {
    known: &'a Known,
    /// How many still have each layer.
    users: Vec<u64>,
    plan: Plan,
}

impl<'a> Work<'a> {
    fn new(known: &'a Known, wanted: Amount) -> Work<'a> {
        let keep = |image: &KnownImage| Verdict::Keep(image.keep.clone().unwrap_or(Keep::Enough));
        let verdicts = known.images.iter().map(keep).collect();
        let users = known.layers.iter().map(|layer| layer.users).collect();
        Work { known, users, plan: Plan { wanted, verdicts, ..Plan::default() } }
    }

    /// Those that may go, in their order.
    fn candidates(&self) -> Vec<usize> {
        let images = &self.known.images;
        let mut all: Vec<usize> =
            (0..images.len()).filter(|at| images[*at].keep.is_none()).collect();
        all.sort_by_key(|at| (images[*at].used, images[*at].detected));
        all
    }

    /// Which layers would stay if all of these went.
    fn staying(&self, going: &[usize]) -> Vec<bool> {
        let mut left = self.users.clone();
        for layer in going.iter().flat_map(|at| &self.known.images[*at].layers) {
            left[*layer] = left[*layer].saturating_sub(1);
        }
        left.into_iter().map(|users| users > 0).collect()
    }

    fn remove(&mut self, at: usize, why: Cause) {
        let mut frees = Amount::default();
        for layer in &self.known.images[at].layers {
            self.users[*layer] = self.users[*layer].saturating_sub(1);
            if self.users[*layer] == 0 {
                frees = frees + self.known.layers[*layer].size;
            }
        }
        self.plan.frees = self.plan.frees + frees;
        self.plan.removals.push(at);
        self.plan.verdicts[at] = Verdict::Remove { why, frees };
    }
}

#[cfg(test)]
mod tests;
