//! Where an image goes beside a file, and under which names.

use rbx_oci::{Digest, Reference};
use rbx_request::Output;

use super::options::boolean;
use crate::error::BuildError;

/// What an output says of an image's place in the store and in registries.
#[derive(Debug)]
pub(crate) struct Placement {
    /// It is pushed under every name.
    pub(crate) push: bool,
    /// It is pushed under its digest alone, and gets no tag.
    pub(crate) by_digest: bool,
    /// It is kept in the store.
    pub(crate) store: bool,
    /// It is also found in the store by every name with its digest.
    canonical: bool,
    /// It also has this name with its digest.
    dangling: Option<Reference>,
    /// It has that only if it has no other.
    dangling_empty_only: bool,
}

impl Placement {
    /// Reads the attributes of an output. All are read, whether they matter or not: what is none is an error.
    pub(crate) fn parse(output: &Output) -> Result<Self, BuildError> {
        if boolean(output, "registry.insecure", false)? {
            return Err(BuildError::invalid(
                "--output registry.insecure=true: the embedded engine pushes to no registry without checking it",
            )
            .hint(
                "for a registry that speaks HTTP set \"registries\": {\"HOST\": {\"http\": true}} in rbx/config.json \
                 of Docker's configuration directory; a certificate of one's own is trusted when the system trusts it",
            ));
        }
        // Layers are laid out when a step needs them, which nobody has to ask for; all the same, as with BuildKit:
        if boolean(output, "unpack", false)? && boolean(output, "rewrite-timestamp", false)? {
            return Err(BuildError::invalid(
                "exporter option \"rewrite-timestamp\" conflicts with \"unpack\"",
            ));
        }
        let dangling = output.attributes.get("dangling-name-prefix").filter(|prefix| !prefix.is_empty());
        let dangling = dangling.map(|prefix| {
            Reference::parse(prefix).map_err(|error| BuildError::invalid(format!("{error}: {prefix:?}")))
        });
        Ok(Self {
            push: boolean(output, "push", false)?,
            by_digest: boolean(output, "push-by-digest", false)?,
            store: boolean(output, "store", true)?,
            canonical: boolean(output, "name-canonical", false)?,
            dangling: dangling.transpose()?,
            dangling_empty_only: boolean(output, "danging-name-empty-only", false)?,
        })
    }

    /// Refuses names under which the image cannot be pushed as it should be.
    pub(crate) fn check(&self, names: &[Reference]) -> Result<(), BuildError> {
        let tagged = |name: &&Reference| name.tag().is_some_and(|tag| tag != "latest");
        match names.iter().find(tagged) {
            Some(name) if self.push && self.by_digest => {
                Err(BuildError::invalid(format!("can't push tagged ref {name} by digest")))
            }
            _ => Ok(()),
        }
    }

    /// The image's names, once its digest is known. `names` are those it was given.
    pub(crate) fn names(&self, names: &[Reference], digest: Digest) -> Vec<Reference> {
        let mut all = names.to_vec();
        if let Some(prefix) = &self.dangling
            && (names.is_empty() || !self.dangling_empty_only)
        {
            all.push(prefix.at_digest(digest));
        }
        all
    }

    /// The names it has in the store; `names` are all it has.
    pub(crate) fn stored(&self, names: &[Reference], digest: Digest) -> Vec<Reference> {
        let mut stored = names.to_vec();
        if self.canonical {
            let tagged = names.iter().filter(|name| name.digest().is_none());
            stored.extend(tagged.map(|name| name.with_digest(digest)));
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use rbx_request::OutputKind;

    use super::*;

    fn placement(attributes: &[(&str, &str)]) -> Result<Placement, String> {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let output = Output { kind: OutputKind::Image, destination: None, attributes };
        Placement::parse(&output).map_err(|error| error.reason.clone())
    }

    #[test]
    fn names_follow_the_attributes() {
        let digest = Digest::sha256_of(b"an image");
        let given = [Reference::parse("user/app:1").unwrap()];
        let shown = |attributes: &[(&str, &str)], given: &[Reference]| {
            let placement = placement(attributes).unwrap();
            let names = placement.names(given, digest);
            let show = |names: &[Reference]| {
                let names: Vec<String> = names.iter().map(Reference::familiar).collect();
                names.join(" ").replace(&digest.to_string(), "DIGEST")
            };
            (show(&names), show(&placement.stored(&names, digest)))
        };
        let both = |text: &str| (text.to_owned(), text.to_owned());
        let dangling = ("dangling-name-prefix", "dangling");
        assert_eq!(shown(&[], &given), both("user/app:1"));
        assert_eq!(shown(&[dangling], &given), both("user/app:1 dangling@DIGEST"));
        assert_eq!(shown(&[dangling, ("danging-name-empty-only", "")], &given), both("user/app:1"));
        assert_eq!(shown(&[dangling, ("danging-name-empty-only", "1")], &[]), both("dangling@DIGEST"));
        assert_eq!(
            shown(&[dangling, ("name-canonical", "true")], &given),
            (
                "user/app:1 dangling@DIGEST".to_owned(),
                "user/app:1 dangling@DIGEST user/app:1@DIGEST".to_owned()
            )
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for name in ["push", "push-by-digest", "store", "unpack", "name-canonical", "danging-name-empty-only"]
        {
            let error = placement(&[(name, "x")]).unwrap_err();
            let parsing = "strconv.ParseBool: parsing \"x\": invalid syntax";
            assert_eq!(error, format!("non-bool value specified for {name}: {parsing}"));
        }
        let error = placement(&[("unpack", ""), ("rewrite-timestamp", "true")]).unwrap_err();
        assert_eq!(error, "exporter option \"rewrite-timestamp\" conflicts with \"unpack\"");
        assert!(placement(&[("registry.insecure", "true")]).is_err());
        assert!(placement(&[("registry.insecure", "false"), ("unpack", "true")]).is_ok());
        assert!(placement(&[("dangling-name-prefix", "Upper")]).is_err());
        let by_digest = placement(&[("push", ""), ("push-by-digest", "")]).unwrap();
        let check = |name: &str| by_digest.check(&[Reference::parse(name).unwrap()]);
        assert!(check("user/app").is_ok());
        let error = check("user/app:1").unwrap_err();
        assert_eq!(error.reason, "can't push tagged ref docker.io/user/app:1 by digest");
    }
}
