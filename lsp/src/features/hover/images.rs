//! Images: what registries have under a name, and what of it is taken on each platform.

use std::collections::BTreeSet;
use std::sync::Arc;

use rbx_dockerfile::{Base, Instruction};
use rbx_facts::{Image, Variant};
use rbx_platform::Platform;

use crate::documents::Snapshot;
use crate::features::page::code;
use crate::online::Online;
use crate::platforms::names;

/// Names of images that one word can come to, as far as they are shown.
const MAX_NAMES: usize = 4;
/// Platforms of an index that are listed.
const MAX_PLATFORMS: usize = 16;
/// Digits of a digest that are shown.
const DIGITS: usize = 12;

/// Images that are asked about: their names with the platforms that they are used on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked(Vec<(String, Vec<Platform>)>);

impl Asked {
    /// One image, for these platforms.
    pub(super) fn one(name: &str, platforms: Vec<Platform>) -> Self {
        Self(vec![(name.to_owned(), platforms)])
    }

    /// The images that the stage of a `FROM` stands on.
    pub(super) fn bases(snapshot: &Snapshot, from: &Instruction) -> Self {
        let mut asked = Self::default();
        for (_, evaluation) in snapshot.evaluations().iter() {
            let stage = evaluation.stages.iter().find(|stage| stage.span == from.span);
            if let Some((stage, Base::Image(name))) = stage.map(|stage| (stage, &stage.base)) {
                asked.add(name, &stage.platform);
            }
        }
        asked
    }

    /// An image that an instruction of a stage takes files from.
    pub(super) fn source(snapshot: &Snapshot, name: &str, instruction: &Instruction) -> Self {
        let mut asked = Self::default();
        for (_, evaluation) in snapshot.evaluations().iter() {
            let before =
                evaluation.stages.partition_point(|stage| stage.span.start <= instruction.span.start);
            if let Some(stage) = evaluation.stages[..before].last() {
                asked.add(name, &stage.platform);
            }
        }
        asked
    }

    fn add(&mut self, name: &str, platform: &Platform) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, platforms)) if platforms.contains(platform) => {}
            Some((_, platforms)) => platforms.push(platform.clone()),
            None => self.0.push((name.to_owned(), vec![platform.clone()])),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is remembered of them.
    pub(super) fn recalled(&self, snapshot: &Snapshot) -> Vec<String> {
        let unknown = "Nothing is known of it yet: registries are asked where `rbx.online` is true.";
        let all = self.0.iter().take(MAX_NAMES).map(|(name, platforms)| {
            let image = snapshot.registries.recall_image(name, platforms);
            Answer { name, platforms, image: image.ok_or_else(|| unknown.to_owned()) }
        });
        paragraphs(&all.collect::<Vec<_>>())
    }

    /// What registries say of them, else what is remembered.
    pub(super) async fn learned(&self, online: &Arc<Online>, snapshot: &Snapshot) -> Vec<String> {
        let all = self.0.iter().take(MAX_NAMES).map(|(name, platforms)| async move {
            let learned = learn(online, name, platforms).await;
            let image =
                learned.or_else(|problem| snapshot.registries.recall_image(name, platforms).ok_or(problem));
            Answer { name, platforms, image }
        });
        paragraphs(&futures::future::join_all(all).await)
    }
}

async fn learn(online: &Online, name: &str, platforms: &[Platform]) -> Result<Image, String> {
    let registries = online.registries().await.ok_or("Registries cannot be asked: see the log.")?;
    match Online::in_time(registries.image(name, platforms)).await {
        Some(Ok(image)) => image.ok_or_else(|| "The registry has no such image.".to_owned()),
        Some(Err(reason)) => Err(reason),
        None => Err("The registry did not answer in time.".to_owned()),
    }
}

/// What is known of a name, or why nothing is.
struct Answer<'a> {
    name: &'a str,
    platforms: &'a [Platform],
    image: Result<Image, String>,
}

/// A part for each image; names of which nothing is known for one reason are together.
fn paragraphs(answers: &[Answer<'_>]) -> Vec<String> {
    let mut parts = Vec::new();
    let mut unknown: Vec<(String, &str)> = Vec::new();
    for answer in answers {
        match &answer.image {
            Ok(image) => {
                parts.push(format!("**{}**", answer.name));
                parts.extend(described(answer.platforms, image));
            }
            Err(reason) => match unknown.iter_mut().find(|(_, known)| known == reason) {
                Some((names, _)) => names.extend([", **", answer.name, "**"]),
                None => unknown.push((format!("**{}**", answer.name), reason)),
            },
        }
    }
    parts.extend(unknown.into_iter().flat_map(|(names, reason)| [names, reason.to_owned()]));
    parts
}

fn described(platforms: &[Platform], image: &Image) -> Vec<String> {
    let digest = short(&image.digest.to_string());
    let mut shown = names(&image.platforms[..image.platforms.len().min(MAX_PLATFORMS)]);
    if image.platforms.len() > MAX_PLATFORMS {
        shown.push_str(", …");
    }
    let first = if image.single {
        format!("{digest}, one image, for {shown}")
    } else {
        format!("{digest}, for {shown}")
    };
    let taken = platforms.iter().map(|platform| {
        let variant = image.variants.iter().find(|(known, _)| known == platform);
        match variant {
            Some((_, variant)) if image.single => format!("- {}: {}", platform.format_all(), size(variant)),
            Some((_, variant)) => {
                let digest = short(&variant.digest.to_string());
                format!("- {}: {digest}, {}", platform.format_all(), size(variant))
            }
            None => format!("- {}: no image", platform.format_all()),
        }
    });
    let taken: Vec<String> = taken.collect();
    let mut parts = vec![first, taken.join("\n")];
    // How containers run is nearly always the same on all platforms.
    let configured: BTreeSet<Vec<String>> =
        image.variants.iter().map(|(_, variant)| settings(variant)).collect();
    for settings in configured.into_iter().filter(|settings| !settings.is_empty()).take(MAX_NAMES) {
        parts.push(settings.join("\n"));
    }
    parts
}

/// How containers of an image run, a line each.
fn settings(variant: &Variant) -> Vec<String> {
    let config = &variant.config;
    let list = |words: &[String]| {
        let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        format!("[{}]", words.join(", "))
    };
    let ports: Vec<&str> = config.exposed_ports.iter().map(String::as_str).collect();
    let all = [
        ("user", config.user.clone()),
        ("directory", config.working_dir.clone()),
        ("entrypoint", Some(list(&config.entrypoint)).filter(|it| it != "[]").unwrap_or_default()),
        ("command", Some(list(&config.cmd)).filter(|it| it != "[]").unwrap_or_default()),
        ("ports", ports.join(" ")),
    ];
    let filled = all.into_iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| format!("- {name}: {}", code(&value))).collect()
}

/// A digest as far as people compare it.
fn short(digest: &str) -> String {
    let end = digest.find(':').map_or(0, |at| at + 1) + DIGITS;
    code(digest.get(..end).unwrap_or(digest))
}

/// A size as registries show it, in powers of ten.
#[expect(clippy::cast_precision_loss, reason = "it is rounded to a tenth")]
fn size(variant: &Variant) -> String {
    let bytes = variant.size as f64;
    match variant.size {
        0..1_000 => format!("{} B", variant.size),
        1_000..1_000_000 => format!("{:.1} kB", bytes / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

/// The image that the front end of a file is, if it names one.
pub(super) fn of_syntax(snapshot: &Snapshot, value: &str) -> Asked {
    let platform = snapshot.request().build_platform.clone();
    value.split_whitespace().next().map(|name| Asked::one(name, vec![platform])).unwrap_or_default()
}
