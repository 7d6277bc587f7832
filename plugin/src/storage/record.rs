//! A record of what a builder keeps, whichever builder it is.

use jiff::Timestamp;
use rbx_buildkit::Usage;
use rbx_engine::UsageRecord;

/// One thing that a builder keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// What kind of thing it is, in `BuildKit`'s words.
    pub(crate) kind: String,
    pub(crate) description: String,
    /// The records that it needs.
    pub(crate) parents: Vec<String>,
    /// When it was made: nanoseconds since 1970.
    pub(crate) created: i64,
    /// When it was last used.
    pub(crate) last_used: Option<i64>,
    pub(crate) uses: i64,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) mutable: bool,
    pub(crate) in_use: bool,
    pub(crate) shared: bool,
}

impl From<UsageRecord> for Record {
    fn from(record: UsageRecord) -> Self {
        Self {
            id: record.id,
            kind: record.kind.as_str().to_owned(),
            description: record.description,
            parents: record.parents,
            created: record.created,
            last_used: Some(record.last_used),
            uses: i64::try_from(record.uses).unwrap_or(i64::MAX),
            size: record.size,
            mutable: record.mutable,
            in_use: record.in_use,
            shared: record.shared,
        }
    }
}

impl From<Usage> for Record {
    fn from(record: Usage) -> Self {
        Self {
            id: record.id,
            kind: record.kind,
            description: record.description,
            parents: record.parents,
            created: record.created_at.map_or(0, nanoseconds),
            last_used: record.last_used_at.map(nanoseconds),
            uses: record.usage_count,
            // A size that is not known is negative.
            size: u64::try_from(record.size).unwrap_or(0),
            mutable: record.mutable,
            in_use: record.in_use,
            shared: record.shared,
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
