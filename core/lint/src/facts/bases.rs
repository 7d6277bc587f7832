//! What is known of each `FROM`, for whoever shows it.

use std::collections::BTreeMap;

use rbx_dockerfile::{Base, Body, Dockerfile, Span, evaluate};
use rbx_platform::Platform;

use super::{Facts, ImageFacts};
use crate::evaluated::{platforms_of, scope};
use crate::lint::Request;

/// The image of a `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Where its name stands.
    pub span: Span,
    /// Its name after expansion.
    pub name: String,
    /// What the registry has under the name; `None` where that is not known.
    pub image: Option<ImageFacts>,
    /// What is built upon it, in the order of the platforms that are built for.
    pub builds: Vec<BaseBuild>,
}

/// A stage that is built upon an image, for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseBuild {
    /// What is built.
    pub target: Platform,
    /// What the stage runs on.
    pub platform: Platform,
    /// The digest of the image that is taken.
    pub digest: Option<String>,
}

/// The images of all `FROM`s, in order of the text.
pub fn base_images(file: &Dockerfile, request: &Request, facts: &Facts) -> Vec<BaseImage> {
    let mut all: BTreeMap<(u32, String), BaseImage> = BTreeMap::new();
    for target in platforms_of(request) {
        let evaluation = evaluate(file, &scope(request, facts, &target));
        for (stage, instructions) in evaluation.stages.iter().zip(file.stages()) {
            let (Base::Image(name), Some(from)) = (&stage.base, instructions.first()) else { continue };
            let Body::From(body) = &from.body else { continue };
            let span = body.image.span;
            let image = facts.images.get(name);
            let digest = image.and_then(|image| match image {
                ImageFacts::Missing => None,
                ImageFacts::Manifest { digest, .. } => Some(digest.clone()),
                ImageFacts::Index { .. } => Some(image.picked(&stage.platform)?.digest.clone()),
            });
            let known = all.entry((span.start, name.clone())).or_insert_with(|| BaseImage {
                span,
                name: name.clone(),
                image: image.cloned(),
                builds: Vec::new(),
            });
            let platform = stage.platform.clone();
            known.builds.push(BaseBuild { target: target.clone(), platform, digest });
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::parse;

    use super::*;
    use crate::facts::IndexEntry;

    #[test]
    fn each_from_says_what_is_taken() {
        let platform = |name: &str| Platform::parse(name).unwrap();
        let entry = |name: &str| IndexEntry {
            digest: format!("sha256:{name}"),
            platform: Some(platform(name)),
            config: None,
        };
        let index = ImageFacts::Index {
            digest: "sha256:index".to_owned(),
            entries: vec![entry("linux/amd64"), entry("linux/arm64")],
        };
        let facts = Facts { images: BTreeMap::from([("go".to_owned(), index)]), ..Facts::default() };
        let platforms = ["linux/amd64", "linux/arm64", "linux/s390x"].map(platform);
        let request = Request::new(platforms.to_vec(), platform("linux/amd64"));
        let file = parse(
            "FROM --platform=$BUILDPLATFORM go AS b\nFROM go\nFROM b\nFROM scratch\nFROM x-$TARGETARCH\n",
        );
        let shown: Vec<String> = base_images(&file, &request, &facts)
            .iter()
            .map(|base| {
                let builds = base.builds.iter().map(|it| {
                    let digest = it.digest.as_deref().unwrap_or("?");
                    format!("{}: {digest}", it.target)
                });
                format!("{} {}", base.name, builds.collect::<Vec<_>>().join(", "))
            })
            .collect();
        assert_eq!(
            shown[..2],
            [
                "go linux/amd64: sha256:linux/amd64, linux/arm64: sha256:linux/amd64, \
                 linux/s390x: sha256:linux/amd64",
                "go linux/amd64: sha256:linux/amd64, linux/arm64: sha256:linux/arm64, \
                 linux/s390x: ?",
            ]
        );
        assert_eq!((shown.len(), shown[2].as_str()), (5, "x-amd64 linux/amd64: ?"));
    }
}
