//! Automatic collection: when it is due, and by what rules.
//!
//! The rules are those of `BuildKit`: first what is remade with the least effort, then what nobody has used for
//! long, then whatever was used least recently while the store or the disk is too full. Whether there is something to
//! do is told by a few numbers, so that every build can ask: what the store took when it was last measured, what was
//! written since, and the free space of the disk.

use std::fs::{OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use crate::error::TxError;
use crate::store::{from_db, now, to_db};
use crate::usage::STORE;
use crate::{BuiltImages, Collected, DiskSpace, Policy, Store, StoreError, UsageRecord, UsageType};

/// An amount of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the disk.
    Percent(u8),
}

impl Space {
    fn of(self, disk: DiskSpace) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => disk.total / 100 * u64::from(percent),
        }
    }
}

/// What automatic collection keeps to. What is not given is as `BuildKit` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// As much as this is kept whatever the others say: a tenth of the disk, but at most 10 GB.
    pub reserved_space: Option<Space>,
    /// No more than this is kept: four fifths of the disk, but at most 100 GB.
    pub max_used_space: Option<Space>,
    /// So much of the disk is to be free: a fifth.
    pub min_free_space: Option<Space>,
}

const GB: u64 = 1_000_000_000;
/// What is remade with little effort goes when the store takes more than this and it was not used for so long.
const CHEAP_SPACE: u64 = 512_000_000;
const CHEAP_AGE: Duration = Duration::from_hours(48);
/// Anything goes that was not used for so long.
const OLD: Duration = Duration::from_hours(60 * 24);
/// After this time there may be something old.
const DAILY: Duration = Duration::from_hours(24);
/// Where others fill the disk, nothing is gained by looking again before.
const AGAIN: Duration = Duration::from_mins(10);

/// The limits in bytes.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    reserved: u64,
    most: u64,
    free: u64,
}

impl Limits {
    fn bytes(&self, disk: DiskSpace) -> Bytes {
        let of = |space: Option<Space>, percent, most: u64| match space {
            Some(space) => space.of(disk),
            None => Space::Percent(percent).of(disk).min(most),
        };
        Bytes {
            reserved: of(self.reserved_space, 10, 10 * GB),
            most: of(self.max_used_space, 80, 100 * GB),
            free: of(self.min_free_space, 20, u64::MAX),
        }
    }
}

/// Why something goes, what may go, and what of that.
type Rule<'a> = (&'a str, Policy, &'a dyn Fn(&UsageRecord) -> bool);

/// What is known without looking at the store.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    /// When it was last measured: nanoseconds since 1970.
    measured: i64,
    /// What it took then.
    total: u64,
    /// What was written since. What went meanwhile is not known, nor what steps wrote to caches.
    written: u64,
}

impl Store {
    /// Whether automatic collection has something to do, as far as that can be told without looking.
    pub fn collection_due(&self, limits: &Limits) -> Result<bool, StoreError> {
        let disk = self.disk_space()?;
        let limits = limits.bytes(disk);
        let estimate = self.estimate()?;
        let age = Duration::from_nanos(u64::try_from(now().saturating_sub(estimate.measured)).unwrap_or(0));
        let total = estimate.total.saturating_add(estimate.written);
        let too_much = total > limits.most.max(limits.reserved);
        let too_full = disk.free < limits.free && total > limits.reserved && age > AGAIN;
        let daily = age > DAILY && total > CHEAP_SPACE.min(limits.reserved);
        let due = too_much && (estimate.written > 0 || age > AGAIN) || too_full || daily;
        tracing::debug!(?disk, ?limits, ?estimate, due, "is the store to be collected?");
        Ok(due)
    }

    /// Collects by the rules, and measures what is left; nothing, if another process is at it. It may be killed at
    /// any moment.
    pub fn collect_automatically(&self, limits: &Limits) -> Result<Option<Collected>, StoreError> {
        let path = self.inner.v1.join("collect.lock");
        let failed = |error| StoreError::io("cannot lock", &path, error);
        let lock = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let written = self.estimate()?.written;
        let Bytes { reserved, most, free } = limits.bytes(self.disk_space()?);
        let cheap = |record: &UsageRecord| {
            use UsageType::{CacheMount, GitCheckout, LocalSource};

            matches!(record.kind, CacheMount | GitCheckout | LocalSource)
        };
        let any = |_: &UsageRecord| true;
        let full = Policy {
            reserved_space: reserved,
            max_used_space: most,
            min_free_space: free,
            built_images: BuiltImages::Copies,
            ..Policy::default()
        };
        let old = Policy { all: true, unused_for: Some(OLD), max_used_space: 0, min_free_space: 0, ..full };
        let rules: [Rule<'_>; 4] = [
            (
                "easily remade and unused for two days",
                Policy { unused_for: Some(CHEAP_AGE), max_used_space: CHEAP_SPACE, ..Policy::default() },
                &cheap,
            ),
            ("unused for sixty days", old, &any),
            ("least recently used", full, &any),
            ("least recently used, of everything", Policy { all: true, ..full }, &any),
        ];
        let mut collected = Collected::default();
        for (rule, policy, wanted) in rules {
            collected += self.prune(&policy, wanted, &mut |record| {
                tracing::debug!(
                    rule,
                    id = record.id,
                    size = record.size,
                    description = record.description,
                    "removed"
                );
            })?;
        }
        // As limits are: of what could go.
        let usage = self.disk_usage()?;
        let total = usage.iter().filter(|record| record.id != STORE).map(|record| record.size).sum();
        self.inner.write(|tx| {
            set(tx, "collected", now())?;
            set(tx, "collected-total", to_db(total))?;
            // What others have written meanwhile is counted once more.
            let left = get(tx, "written")?.saturating_sub(to_db(written));
            set(tx, "written", left)
        })?;
        tracing::debug!(?collected, total, "collected the store");
        Ok(Some(collected))
    }

    /// Adds what this process has written to what is known.
    fn estimate(&self) -> Result<Estimate, StoreError> {
        let mut written = self.inner.written.swap(0, Ordering::Relaxed);
        if written > 0 {
            let noted = self.inner.write(|tx| {
                let before = get(tx, "written")?;
                set(tx, "written", before.saturating_add(to_db(written)))
            });
            match noted {
                Ok(()) => written = 0,
                // The disk may be full, and then the answer matters most.
                Err(error) => tracing::debug!(%error, "cannot note what was written"),
            }
        }
        self.inner.read(|db| {
            Ok(Estimate {
                measured: get(db, "collected")?,
                total: from_db(get(db, "collected-total")?),
                written: from_db(get(db, "written")?).saturating_add(written),
            })
        })
    }
}

/// A number of the store's own.
fn get(db: &Connection, key: &str) -> Result<i64, TxError> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn set(db: &Connection, key: &str, value: i64) -> Result<(), TxError> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?.execute((key, value))?;
    Ok(())
}
