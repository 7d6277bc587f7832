//! What a program came to in a cell of the table, and how two of them differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::site::{packed, packed_files};
use super::words::{self, Words};
use super::{Seen, Verdict};
use crate::compare::{self, Difference};
use crate::{Entry, Image, read_root};

/// What a program came to.
#[derive(Debug, Default)]
pub struct Cell {
    /// Of each command.
    statuses: Vec<i32>,
    errors: String,
    printed: String,
    words: Words,
    /// What is different in each run, and its name.
    names: Vec<(String, &'static str)>,
    found: Vec<Found>,
}

#[derive(Debug)]
enum Found {
    Images {
        images: Vec<Image>,
        indexes: Vec<Value>,
    },
    Root(BTreeMap<String, Entry>),
    Lines(Vec<String>),
    /// It cannot be looked at.
    Nothing(String),
}

impl Cell {
    /// Adds what a command came to.
    pub(super) fn add(&mut self, output: &Output) {
        self.statuses.push(output.status.code().unwrap_or(-1));
        self.errors.push_str(&String::from_utf8_lossy(&output.stderr));
        self.printed = String::from_utf8_lossy(&output.stdout).into_owned();
    }

    /// Gives what is different in each run the names it has in all of them.
    pub(super) fn name(&mut self, names: Vec<(String, &'static str)>) {
        self.names = names;
        self.errors = self.named(&self.errors);
        self.printed = self.named(&self.printed);
        self.words = Words::of(&self.errors);
    }

    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }

    /// Whether all commands ended well.
    pub(super) fn is_well(&self) -> bool {
        self.statuses.iter().all(|status| *status == 0)
    }

    /// Looks at something.
    pub(super) fn see(
        &mut self,
        seen: Seen,
        out: &Path,
        archive: impl FnOnce(&str) -> Result<PathBuf, String>,
    ) {
        let text = |name: &str| {
            let text = fs::read_to_string(out.join(name)).map_err(|error| format!("{name}: {error}"))?;
            Ok::<_, String>(self.named(&text))
        };
        let found = match seen {
            Seen::Archive(name) => is_there(out.join(name)).map(|archive| images(&archive)),
            Seen::Layout(name) => packed(&out.join(name)).map(|archive| images(&archive)),
            Seen::Tar(name) => is_there(out.join(name)).map(|archive| Found::Root(read_root(&archive))),
            Seen::Directory(name) => {
                packed_files(&out.join(name)).map(|archive| Found::Root(read_root(&archive)))
            }
            Seen::Json(name) => text(name).and_then(|text| {
                let value = serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
                Ok(Found::Lines(words::lines_of(&value)))
            }),
            Seen::Text(name) => text(name).map(|text| Found::Lines(vec![words::without_digests(&text)])),
            Seen::Printed => Ok(Found::Lines(match serde_json::from_str(&self.printed) {
                Ok(value) => words::lines_of(&value),
                Err(_) => words::without_digests(&self.printed).lines().map(str::to_owned).collect(),
            })),
            Seen::Image => archive("").map(|archive| images(&archive)),
            Seen::Pushed(name) | Seen::Loaded(name) => archive(name).map(|archive| images(&archive)),
            Seen::Same(left, right) => {
                let read = |name: &str| fs::read(out.join(name)).map_err(|error| format!("{name}: {error}"));
                read(left).and_then(|left| Ok(left == read(right)?)).map(|same| {
                    Found::Lines(vec![if same { "the same".to_owned() } else { "different".to_owned() }])
                })
            }
        };
        self.found.push(found.unwrap_or_else(Found::Nothing));
    }

    /// What is wrong, held against how it should end.
    pub(super) fn judge(&self, verdict: Verdict) -> Option<String> {
        let (last, before) = self.statuses.split_last()?;
        let nothing = self.found.iter().find_map(|found| match found {
            Found::Nothing(reason) => Some(reason.clone()),
            _ => None,
        });
        let error = self.words.error();
        let right = before.iter().all(|status| *status == 0)
            && match verdict {
                Verdict::Done => *last == 0,
                Verdict::Fails(status, words) => *last == status && error.contains(words),
            };
        if !right {
            let said = words::tail(&self.errors);
            return Some(format!(
                "it should end {verdict}, and did with {:?} and {error:?}:\n{said}",
                self.statuses
            ));
        }
        nothing
    }

    /// What it said last.
    pub(super) fn log(&self) -> String {
        words::tail(&self.errors)
    }

    /// How another differs from this. The names of BuildKit's steps are compared only if it did them for both.
    pub(super) fn differences(&self, other: &Self, steps: bool) -> Vec<Difference> {
        let mut all = text_differences(
            "exit status",
            &[format!("{:?}", self.statuses)],
            &[format!("{:?}", other.statuses)],
        );
        all.extend(text_differences("words", self.words.said(), other.words.said()));
        if steps {
            all.extend(text_differences("steps", &self.words.steps(), &other.words.steps()));
        }
        for (number, pair) in self.found.iter().zip(&other.found).enumerate() {
            let place = format!("seen {number}");
            match pair {
                (
                    Found::Images { images: left, indexes: left_indexes },
                    Found::Images { images: right, indexes: right_indexes },
                ) => {
                    all.extend(compare::indexes(left_indexes, right_indexes));
                    all.extend(compare::archives(left, right));
                }
                (Found::Root(left), Found::Root(right)) => all.extend(compare::roots(left, right)),
                (Found::Lines(left), Found::Lines(right)) => {
                    all.extend(text_differences(&place, left, right));
                }
                (left, right) => {
                    let kind = |found: &Found| match found {
                        Found::Nothing(reason) => reason.clone(),
                        _ => "something".to_owned(),
                    };
                    all.extend(text_differences(&place, &[kind(left)], &[kind(right)]));
                }
            }
        }
        all
    }
}

fn is_there(path: PathBuf) -> Result<PathBuf, String> {
    if path.exists() { Ok(path) } else { Err(format!("{} was not written", path.display())) }
}

fn images(archive: &Path) -> Found {
    Found::Images { images: Image::read_all(archive), indexes: Image::read_indexes(archive) }
}

/// The lines that only one of them has, in order.
fn text_differences(place: &str, left: &[String], right: &[String]) -> Vec<Difference> {
    let lacking = |from: &[String], others: &[String]| -> Vec<String> {
        let mut others = others.to_vec();
        let mut lacking = Vec::new();
        for line in from {
            match others.iter().position(|other| other == line) {
                Some(at) => drop(others.remove(at)),
                None => lacking.push(line.clone()),
            }
        }
        lacking
    };
    let (only_left, only_right) = (lacking(left, right), lacking(right, left));
    // One by one, so that what explains one does not depend on others.
    let one = |left, right| Difference { place: place.to_owned(), left, right };
    let of_left = only_left.into_iter().map(|line| one(Some(line), None));
    of_left.chain(only_right.into_iter().map(|line| one(None, Some(line)))).collect()
}
