//! Images: names of manifests or indexes in the store.

use std::collections::BTreeSet;

use rbx_oci::Digest;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::TxError;
use crate::store::{USE_INTERVAL, now};
use crate::{LayerId, Store, StoreError};

/// An image in the store, with what it needs to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The descriptor of its index or manifest, as JSON. The store does not read it.
    pub target: String,
    /// Whether a user has built or loaded it: then it stays until it is removed by name. Otherwise it was pulled for
    /// a build, and goes when it has not been used for long.
    pub built: bool,
    /// Blobs the image keeps from being collected: its index, manifests, configurations, and layers kept as blobs.
    pub blobs: BTreeSet<Digest>,
    /// Layers the image keeps from being collected.
    pub layers: BTreeSet<LayerId>,
}

/// A named image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name it was stored under.
    pub name: String,
    /// The descriptor of its index or manifest, as JSON.
    pub target: String,
    /// Whether it stays until it is removed by name.
    pub built: bool,
    /// When the name was last set: nanoseconds since 1970.
    pub created: i64,
    /// When it was last looked up, to the minute: nanoseconds since 1970.
    pub last_used: i64,
}

impl Store {
    /// Gives an image its name, taking it from the image that had it.
    pub fn set_image(&self, name: &str, image: &NewImage) -> Result<(), StoreError> {
        self.inner.write(|tx| {
            for layer in &image.layers {
                if !tx.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([layer.as_bytes()])? {
                    return Err(StoreError::NoLayer(*layer).into());
                }
            }
            tx.prepare_cached("DELETE FROM images WHERE name = ?1")?.execute([name])?;
            tx.prepare_cached(
                "INSERT INTO images (name, target, built, elsewhere, created, last_used, uses)
                 VALUES (?1, ?2, ?3, 0, ?4, ?4, 1)",
            )?
            .execute((name, &image.target, image.built, now()))?;
            for digest in &image.blobs {
                tx.prepare_cached("INSERT INTO image_blobs (name, digest) VALUES (?1, ?2)")?
                    .execute((name, digest.as_bytes()))?;
            }
            for layer in &image.layers {
                tx.prepare_cached("INSERT INTO image_layers (name, layer) VALUES (?1, ?2)")?
                    .execute((name, layer.as_bytes()))?;
            }
            Ok(())
        })
    }

    /// Finds an image by name. Its blobs and layers are kept while it has the name; look up those that are needed
    /// for longer.
    pub fn image(&self, name: &str) -> Result<Option<Image>, StoreError> {
        let found = self.inner.read(|db| {
            let mut statement = db.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            Ok(statement.query_row([name], from_row).optional()?)
        })?;
        let now = now();
        if let Some(image) = &found
            && now - image.last_used > USE_INTERVAL
        {
            self.inner.write(|tx| {
                tx.prepare_cached("UPDATE images SET last_used = ?2, uses = uses + 1 WHERE name = ?1")?
                    .execute((name, now))?;
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// All images, by name.
    pub fn images(&self) -> Result<Vec<Image>, StoreError> {
        self.inner.read(all)
    }

    /// Notes that an image is not only here: an Engine or a registry has it, too. Then it need not stay when space is
    /// short. An image that gets the name later is another one.
    pub fn set_elsewhere(&self, name: &str) -> Result<(), StoreError> {
        self.inner.write(|tx| {
            tx.prepare_cached("UPDATE images SET elsewhere = 1 WHERE name = ?1")?.execute([name])?;
            Ok(())
        })
    }

    /// Takes an image's name away, and says whether there was one. Collection removes what only it kept.
    pub fn remove_image(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.write(|tx| Ok(tx.execute("DELETE FROM images WHERE name = ?1", [name])? > 0))
    }
}

const SELECT: &str = "SELECT name, target, built, created, last_used FROM images";

fn all(db: &Connection) -> Result<Vec<Image>, TxError> {
    let mut statement = db.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
    let images = statement.query_map((), from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(images)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        name: row.get(0)?,
        target: row.get(1)?,
        built: row.get(2)?,
        created: row.get(3)?,
        last_used: row.get(4)?,
    })
}
