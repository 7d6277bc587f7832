//! Build records: what a vertex's cache key led to.

use rusqlite::{OptionalExtension, Row, Transaction};

use crate::error::TxError;
use crate::layers::use_layer;
use crate::leases::Pinned;
use crate::store::{USE_INTERVAL, now};
use crate::{Key, LayerId, Lease, Store, StoreError};

/// What a cache key led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The layer that was made, if one was.
    pub layer: Option<LayerId>,
    /// The caller's description of the result, which the store does not read.
    pub value: Vec<u8>,
    /// When the result was made: nanoseconds since 1970.
    pub created: i64,
}

impl Store {
    /// Looks a record up. The lease keeps it, with its layer and that layer's parents, from then on.
    pub fn record(&self, lease: &Lease, key: &Key) -> Result<Option<Record>, StoreError> {
        if lease.pins().knows(Pinned::Record, key.as_bytes()) {
            return self.peek_record(key);
        }
        let found = self.inner.write(|tx| use_record(tx, lease, key))?;
        if let Some(record) = &found {
            remember(lease, key, record);
        }
        Ok(found)
    }

    /// Looks a record up and leaves everything as it is: nothing is kept from being collected, and the record is no
    /// more in use than before.
    pub fn peek_record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let found = self.inner.read(|db| {
            let mut statement = db.prepare_cached(SELECT)?;
            Ok(statement.query_row([key.as_bytes()], from_row).optional()?)
        })?;
        Ok(found.map(|(record, _)| record))
    }

    /// Records a result and gives what is recorded from then on: with `replace`, this one, else the first one. Of
    /// two processes that have built the same vertex the second one thus goes on with the first one's result.
    ///
    /// The layer must be in the store, which [`Store::put_layer`] with the same lease ensures.
    pub fn put_record(
        &self,
        lease: &Lease,
        key: &Key,
        record: &Record,
        replace: bool,
    ) -> Result<Record, StoreError> {
        let recorded = self.inner.write(|tx| {
            if !replace && let Some(first) = use_record(tx, lease, key)? {
                return Ok(first);
            }
            if let Some(layer) = record.layer {
                let mut exists = tx.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?;
                if !exists.exists([layer.as_bytes()])? {
                    return Err(StoreError::NoLayer(layer).into());
                }
            }
            tx.prepare_cached(
                "INSERT OR REPLACE INTO records (key, layer, value, created, last_used)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                key.as_bytes(),
                record.layer.as_ref().map(LayerId::as_bytes),
                &record.value,
                record.created,
                now(),
            ))?;
            pin(tx, lease, key, record)?;
            Ok(record.clone())
        })?;
        remember(lease, key, &recorded);
        Ok(recorded)
    }

    /// Forgets a record, such as one whose layer was found to be damaged.
    pub fn remove_record(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.write(|tx| {
            tx.execute("DELETE FROM records WHERE key = ?1", [key.as_bytes()])?;
            Ok(())
        })
    }
}

const SELECT: &str = "SELECT layer, value, created, last_used FROM records WHERE key = ?1";

fn from_row(row: &Row<'_>) -> rusqlite::Result<(Record, i64)> {
    let layer: Option<[u8; 16]> = row.get(0)?;
    let record = Record { layer: layer.map(LayerId::from_bytes), value: row.get(1)?, created: row.get(2)? };
    Ok((record, row.get(3)?))
}

/// Looks up and pins.
fn use_record(tx: &Transaction<'_>, lease: &Lease, key: &Key) -> Result<Option<Record>, TxError> {
    let found = tx.prepare_cached(SELECT)?.query_row([key.as_bytes()], from_row).optional()?;
    let Some((record, last_used)) = found else { return Ok(None) };
    pin(tx, lease, key, &record)?;
    let now = now();
    if now - last_used > USE_INTERVAL {
        tx.prepare_cached("UPDATE records SET last_used = ?2 WHERE key = ?1")?
            .execute((key.as_bytes(), now))?;
    }
    Ok(Some(record))
}

fn pin(tx: &Transaction<'_>, lease: &Lease, key: &Key, record: &Record) -> Result<(), TxError> {
    lease.pins().pin(tx, Pinned::Record, key.as_bytes())?;
    match &record.layer {
        Some(layer) => use_layer(tx, lease, layer),
        None => Ok(()),
    }
}

fn remember(lease: &Lease, key: &Key, record: &Record) {
    lease.pins().remember(Pinned::Record, key.as_bytes());
    if let Some(layer) = &record.layer {
        lease.pins().remember(Pinned::Layer, layer.as_bytes());
    }
}
