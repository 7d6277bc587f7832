//! What an output of an image asks for.

use std::collections::BTreeMap;

use rbx_oci::Compression;
use rbx_platform::Platform;
use rbx_request::{Annotation, AnnotationKind, Output, parse_bool};

use crate::error::BuildError;
use crate::layer::Packing;

/// The level of zstd where none is given.
const ZSTD_LEVEL: i32 = 3;

/// How an image is to be written.
#[derive(Debug)]
pub(crate) struct ImageOptions {
    pub(crate) packing: Packing,
    /// Layers that came packed in another way are packed anew.
    pub(crate) force: bool,
    /// OCI's media types rather than Docker's.
    pub(crate) oci: bool,
    /// Nothing that this build adds has a time later than `SOURCE_DATE_EPOCH`.
    pub(crate) rewrite: bool,
    /// Layers that may not be pushed stay so; otherwise they become like any other.
    pub(crate) nondistributable: bool,
    annotations: Vec<Annotation>,
}

impl ImageOptions {
    /// Reads the attributes of an output. `annotations` are those of the request, as written.
    pub(crate) fn parse(output: &Output, annotations: &[String]) -> Result<Self, BuildError> {
        let mut parsed: Vec<Annotation> = Vec::new();
        for text in annotations {
            parsed.extend(Annotation::parse(text).map_err(|error| BuildError::invalid(error.to_string()))?);
        }
        for (name, value) in output.attributes.iter().filter(|(name, _)| is_annotation(name)) {
            parsed.extend(attribute(name, value)?);
        }
        let oci = boolean(output, "oci-mediatypes", true)?;
        // Both are about attestations only.
        boolean(output, "attestation-inline", true)?;
        if boolean(output, "oci-artifact", false)? && !oci {
            return Err(BuildError::invalid(
                "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"",
            ));
        }
        Ok(Self {
            packing: packing(output)?,
            force: boolean(output, "force-compression", false)?,
            oci,
            rewrite: boolean(output, "rewrite-timestamp", false)?,
            nondistributable: boolean(output, "prefer-nondist-layers", false)?,
            annotations: parsed,
        })
    }

    /// Refuses annotations that have no place in an image for these platforms, which has an index or has none.
    pub(crate) fn check(&self, platforms: &[&Platform], index: bool) -> Result<(), BuildError> {
        for annotation in &self.annotations {
            if let Some(platform) = annotation.platform.as_ref().map(Platform::format_all)
                && !platforms.iter().any(|built| built.format_all() == platform)
            {
                let reason = format!("invalid annotation: no platform {platform} found in source");
                return Err(BuildError::invalid(reason));
            }
            match annotation.kind {
                None | Some(AnnotationKind::Manifest) => {}
                Some(_) if !self.oci => {
                    return Err(BuildError::invalid(
                        "cannot export annotations with \"oci-mediatypes=false\"",
                    ));
                }
                Some(AnnotationKind::Index | AnnotationKind::IndexDescriptor) if !index => {
                    return Err(BuildError::invalid(
                        "index annotations not supported for single platform export",
                    )
                    .hint(
                        "an image of one platform has no index; annotate its manifest or build for several",
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// What is to be written to a part of the image, for a platform or for all: what names the platform comes
    /// before what names none.
    pub(crate) fn annotations(
        &self,
        kind: AnnotationKind,
        platform: Option<&Platform>,
    ) -> BTreeMap<String, String> {
        let platform = platform.map(Platform::format_all);
        let mut found = BTreeMap::new();
        for specific in [false, true] {
            for annotation in &self.annotations {
                let own = annotation.platform.as_ref().map(Platform::format_all);
                // There is one index, whichever platform is named.
                let meant = platform.is_none() || own.is_none() || own == platform;
                if annotation.kind.unwrap_or(AnnotationKind::Manifest) == kind
                    && own.is_some() == specific
                    && meant
                {
                    found.insert(annotation.key.clone(), annotation.value.clone());
                }
            }
        }
        found
    }
}

/// Whether an attribute is an annotation.
pub(crate) fn is_annotation(name: &str) -> bool {
    name.strip_prefix("annotation")
        .is_some_and(|rest| rest.starts_with(['.', '-', '[']) && rest.contains('.'))
}

/// Reads `annotation[-type][[platform]].key`.
fn attribute(name: &str, value: &str) -> Result<Vec<Annotation>, BuildError> {
    let rest = name.strip_prefix("annotation").unwrap_or(name);
    let (part, key) = rest.split_once('.').unwrap_or((rest, ""));
    if part.is_empty() {
        let (key, value) = (key.to_owned(), value.to_owned());
        return Ok(vec![Annotation { kind: None, platform: None, key, value }]);
    }
    let part = part.strip_prefix('-').map_or_else(|| format!("manifest{part}"), str::to_owned);
    let parsed = Annotation::parse(&format!("{part}:={value}"))
        .map_err(|error| BuildError::invalid(format!("{error}: {name:?}")))?;
    Ok(parsed.into_iter().map(|annotation| Annotation { key: key.to_owned(), ..annotation }).collect())
}

fn packing(output: &Output) -> Result<Packing, BuildError> {
    let compression = match output.attributes.get("compression") {
        None => Packing::STORE.compression,
        Some(name) => name.parse().map_err(|_| {
            BuildError::invalid(format!("unsupported layer compression type: {name}"))
                .hint("the embedded engine knows uncompressed, gzip and zstd")
        })?,
    };
    let asked = match output.attributes.get("compression-level") {
        None => None,
        Some(level) => Some(level.parse::<i32>().map_err(|_| {
            BuildError::invalid(format!("non-integer value {level} specified for compression-level"))
        })?),
    };
    // Levels beyond what there is mean the nearest, which is known under one name.
    let level = match compression {
        Compression::Uncompressed => 0,
        Compression::Gzip => asked.unwrap_or(Packing::STORE.level).clamp(0, 12),
        Compression::Zstd => asked.unwrap_or(ZSTD_LEVEL).clamp(1, 22),
    };
    Ok(Packing { compression, level })
}

/// A boolean attribute, as Go reads it; without a value it is true.
pub(crate) fn boolean(output: &Output, name: &str, default: bool) -> Result<bool, BuildError> {
    match output.attributes.get(name).map(String::as_str) {
        None => Ok(default),
        Some("") => Ok(true),
        Some(value) => parse_bool(value).map_err(|reason| {
            // As BuildKit, whose compression options are read by another parser than the rest.
            let shown = if name == "force-compression" { format!("{value} ") } else { String::new() };
            BuildError::invalid(format!("non-bool value {shown}specified for {name}: {reason}"))
        }),
    }
}

/// Whether the files of each platform get a directory of their own, if an output says.
pub(crate) fn platform_split(output: &Output) -> Result<Option<bool>, BuildError> {
    let Some(value) = output.attributes.get("platform-split") else { return Ok(None) };
    let split = parse_bool(value).map_err(|reason| {
        BuildError::invalid(format!("non-bool value for platform-split: {value}: {reason}"))
    });
    split.map(Some)
}

#[cfg(test)]
mod tests {
    use rbx_request::OutputKind;

    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    fn parse(attributes: &[(&str, &str)], annotations: &[&str]) -> Result<ImageOptions, String> {
        parse_for(attributes, annotations, &["linux/amd64", "linux/arm64"])
    }

    fn parse_for(
        attributes: &[(&str, &str)],
        annotations: &[&str],
        platforms: &[&str],
    ) -> Result<ImageOptions, String> {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let output = Output { kind: OutputKind::Oci, destination: None, attributes };
        let annotations: Vec<String> = annotations.iter().map(|text| (*text).to_owned()).collect();
        let platforms: Vec<Platform> = platforms.iter().map(|text| platform(text)).collect();
        let platforms: Vec<&Platform> = platforms.iter().collect();
        let options = ImageOptions::parse(&output, &annotations).map_err(|error| error.reason.clone())?;
        options.check(&platforms, platforms.len() > 1).map_err(|error| error.reason.clone())?;
        Ok(options)
    }

    fn shown(annotations: &BTreeMap<String, String>) -> String {
        let pairs: Vec<String> = annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(" ")
    }

    #[test]
    fn annotations_go_where_they_are_meant() {
        let options = parse(
            &[
                ("annotation.a", "attribute"),
                ("annotation[linux/arm64].b.c", "1"),
                ("annotation-manifest-descriptor.d", "2"),
                ("annotation-index[linux/amd64].e", "3"),
            ],
            &["a=flag", "manifest[linux/arm64]:f=4", "f=5", "index-descriptor:g=6", "index,manifest:h=7"],
        )
        .unwrap();
        let amd64 = platform("linux/amd64");
        let arm64 = platform("linux/arm64");
        let of = |kind, platform| shown(&options.annotations(kind, platform));
        assert_eq!(of(AnnotationKind::Manifest, Some(&amd64)), "a=attribute f=5 h=7");
        assert_eq!(of(AnnotationKind::Manifest, Some(&arm64)), "a=attribute b.c=1 f=4 h=7");
        assert_eq!(of(AnnotationKind::ManifestDescriptor, Some(&amd64)), "d=2");
        assert_eq!(of(AnnotationKind::Index, None), "e=3 h=7");
        assert_eq!(of(AnnotationKind::IndexDescriptor, None), "g=6");
    }

    #[test]
    fn annotations_that_have_no_place_are_errors() {
        let error = |attributes, annotations| parse(attributes, annotations).unwrap_err();
        assert_eq!(
            error(&[], &["manifest[linux/s390x]:a=b"]),
            "invalid annotation: no platform linux/s390x found in source"
        );
        assert_eq!(
            error(&[("oci-mediatypes", "false")], &["manifest-descriptor:a=b"]),
            "cannot export annotations with \"oci-mediatypes=false\""
        );
        assert!(parse(&[("oci-mediatypes", "false")], &["manifest:a=b"]).is_ok());
        assert_eq!(
            error(&[("annotation-layer.a", "b")], &[]),
            "unknown annotation type \"layer\": \"annotation-layer.a\""
        );
        for kind in ["index", "index-descriptor"] {
            let text = format!("{kind}:a=b");
            assert_eq!(
                parse_for(&[], &[&text], &["linux/amd64"]).unwrap_err(),
                "index annotations not supported for single platform export"
            );
        }
    }

    #[test]
    fn attributes_are_read_as_go_reads_them() {
        let packing = |attributes| {
            let options = parse(attributes, &[]).unwrap();
            (options.packing.name(), options.force)
        };
        assert_eq!(packing(&[]), ("gzip-2".to_owned(), false));
        assert_eq!(
            packing(&[("compression", "uncompressed"), ("compression-level", "9")]),
            ("uncompressed-0".to_owned(), false)
        );
        assert_eq!(
            packing(&[("compression", "zstd"), ("compression-level", "40"), ("force-compression", "")]),
            ("zstd-22".to_owned(), true)
        );
        let error = |name, value| parse(&[(name, value)], &[]).unwrap_err();
        assert_eq!(error("compression", "lz4"), "unsupported layer compression type: lz4");
        assert_eq!(
            error("compression-level", "high"),
            "non-integer value high specified for compression-level"
        );
        let reason = |value: &str| format!("strconv.ParseBool: parsing \"{value}\": invalid syntax");
        assert_eq!(
            error("force-compression", "yes"),
            format!("non-bool value yes specified for force-compression: {}", reason("yes"))
        );
        for name in ["oci-mediatypes", "oci-artifact", "attestation-inline", "prefer-nondist-layers"] {
            let wanted = format!("non-bool value specified for {name}: {}", reason("no"));
            assert_eq!(error(name, "no"), wanted);
        }
        assert_eq!(
            parse(&[("oci-artifact", "true"), ("oci-mediatypes", "false")], &[]).unwrap_err(),
            "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\""
        );
        let split = |value: &str| {
            let attributes = [("platform-split".to_owned(), value.to_owned())].into();
            let output = Output { kind: OutputKind::Tar, destination: None, attributes };
            platform_split(&output).map_err(|error| error.reason.clone())
        };
        assert_eq!((split("0"), split("true")), (Ok(Some(false)), Ok(Some(true))));
        for value in ["", "x"] {
            let wanted = format!("non-bool value for platform-split: {value}: {}", reason(value));
            assert_eq!(split(value), Err(wanted));
        }
    }
}
