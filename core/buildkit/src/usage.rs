//! What a daemon keeps, and dropping it: `du` and `prune`.

use std::time::Duration;

use jiff::Timestamp;

use crate::client::Client;
use crate::error::Error;
use crate::proto::control;
use crate::status::time;

/// A record of what a daemon keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its id.
    pub id: String,
    /// The records it builds upon.
    pub parents: Vec<String>,
    /// Whether it can still be written to.
    pub mutable: bool,
    /// Whether something uses it now.
    pub in_use: bool,
    /// Whether somebody else keeps it, too, such as an image: dropping it frees nothing.
    pub shared: bool,
    /// Bytes.
    pub size: i64,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// How often it was used.
    pub usage_count: i64,
    /// What it is, as people read it.
    pub description: String,
    /// What kind of record it is: `regular`, `internal`, `frontend`, `source.local`, `source.git.checkout` or
    /// `exec.cachemount`.
    pub kind: String,
}

/// What to drop. Nothing that is in use is ever dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Internal and frontend images, and what is shared, too.
    pub all: bool,
    /// What records have in common, as buildx passes it on: `type==regular`, `id~=…`.
    pub filters: Vec<String>,
    /// Keep what was used since so long.
    pub keep_duration: Duration,
    /// Bytes that are kept in any case; 0 if none.
    pub reserved_space: i64,
    /// Bytes that are not exceeded; 0 if there is no bound.
    pub max_used_space: i64,
    /// Bytes of the disk that are to be free; 0 if any.
    pub min_free_space: i64,
}

impl Client {
    /// What the daemon keeps, of that which all `filters` are true for, and which was used longer ago than `age`.
    pub async fn usage(&self, filters: &[String], age: Duration) -> Result<Vec<Usage>, Error> {
        let request = control::DiskUsageRequest { filter: filters.to_vec(), age_limit: nanoseconds(age) };
        let answer = self.control().disk_usage(request).await?.into_inner();
        Ok(answer.record.into_iter().map(Usage::from).collect())
    }

    /// Has the daemon drop what it keeps, and tells `each` record when it is gone.
    pub async fn prune(
        &self,
        options: &PruneOptions,
        mut each: impl FnMut(Usage) + Send,
    ) -> Result<(), Error> {
        let request = control::PruneRequest {
            filter: options.filters.clone(),
            all: options.all,
            keep_duration: nanoseconds(options.keep_duration),
            reserved_space: options.reserved_space,
            max_used_space: options.max_used_space,
            min_free_space: options.min_free_space,
        };
        let mut records = self.control().prune(request).await?.into_inner();
        while let Some(record) = records.message().await? {
            each(record.into());
        }
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    duration.as_nanos().try_into().unwrap_or(i64::MAX)
}

impl From<control::UsageRecord> for Usage {
    fn from(record: control::UsageRecord) -> Self {
        let mut parents = record.parents;
        #[expect(deprecated, reason = "daemons before 0.10 have no other")]
        if parents.is_empty() && !record.parent.is_empty() {
            parents.push(record.parent);
        }
        Self {
            id: record.id,
            parents,
            mutable: record.mutable,
            in_use: record.in_use,
            shared: record.shared,
            size: record.size,
            created_at: time(record.created_at),
            last_used_at: time(record.last_used_at),
            usage_count: record.usage_count,
            description: record.description,
            kind: record.record_type,
        }
    }
}
