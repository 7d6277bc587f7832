//! `--cache-from` and `--cache-to`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbx_oci::layout::Layout;
use rbx_request::{BuildRequest, CacheEntry, Failure, parse_bool};

use super::settings::{CacheSecrets, Settings};
use super::{invalid, unsupported};

/// What a local cache is tagged that nobody named.
const DEFAULT_TAG: &str = "latest";

/// The caches of a build, as the daemon is told of them.
#[derive(Debug, Default)]
pub(super) struct Caches {
    pub(super) imports: Vec<CacheEntry>,
    pub(super) exports: Vec<CacheEntry>,
    /// Directories by the ids under which the daemon asks for their content.
    pub(super) stores: BTreeMap<String, PathBuf>,
    /// Directories whose tables of contents get the cache that was written, under a tag.
    pub(super) updates: BTreeMap<PathBuf, String>,
    /// Caches that are left out, and why.
    pub(super) notes: Vec<String>,
}

impl Caches {
    pub(super) fn of(request: &BuildRequest, settings: &Settings) -> Result<Self, Failure> {
        let mut exports = request.cache_to.clone();
        if request.build_args.get("BUILDKIT_INLINE_CACHE").is_some_and(|value| parse_bool(value) == Ok(true))
        {
            exports.push(CacheEntry { kind: "inline".to_owned(), attributes: BTreeMap::new() });
        }
        if !settings.features.cache_export && exports.iter().any(|entry| entry.kind != "inline") {
            return Err(unsupported("Cache export", settings, "build-cache-backends"));
        }
        let mut caches = Self::default();
        for entry in exports {
            let Some(entry) = with_secrets(entry, &settings.cache_secrets) else { continue };
            caches.export(entry)?;
        }
        for entry in request.cache_from.iter().cloned() {
            let Some(entry) = with_secrets(entry, &settings.cache_secrets) else { continue };
            caches.import(entry)?;
        }
        Ok(caches)
    }

    fn export(&mut self, entry: CacheEntry) -> Result<(), Failure> {
        match entry.kind.as_str() {
            "local" => {
                let path = filled(&entry, "dest")
                    .ok_or_else(|| invalid("local cache exporter requires dest"))?
                    .to_owned();
                let tag = entry.attributes.get("tag").map_or(DEFAULT_TAG, String::as_str);
                self.updates.insert(PathBuf::from(&path), tag.to_owned());
                self.stores.insert(store_id(&path), PathBuf::from(path));
            }
            "registry" if filled(&entry, "ref").is_none() => {
                return Err(invalid("registry cache exporter requires ref"));
            }
            _ => {}
        }
        self.exports.push(entry);
        Ok(())
    }

    fn import(&mut self, mut entry: CacheEntry) -> Result<(), Failure> {
        match entry.kind.as_str() {
            "local" => {
                let path = filled(&entry, "src")
                    .ok_or_else(|| invalid("local cache importer requires src"))?
                    .to_owned();
                if filled(&entry, "digest").is_none() {
                    let tag = entry.attributes.get("tag").map_or(DEFAULT_TAG, String::as_str);
                    match digest_of(Path::new(&path), tag) {
                        Ok(digest) => drop(entry.attributes.insert("digest".to_owned(), digest)),
                        Err(why) => {
                            self.notes.push(format!("local cache import at {path} skipped: {why}"));
                            return Ok(());
                        }
                    }
                }
                self.stores.insert(store_id(&path), PathBuf::from(path));
            }
            "registry" if filled(&entry, "ref").is_none() => {
                return Err(invalid("registry cache importer requires ref"));
            }
            _ => {}
        }
        self.imports.push(entry);
        Ok(())
    }
}

fn filled<'a>(entry: &'a CacheEntry, key: &str) -> Option<&'a str> {
    entry.attributes.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

fn store_id(path: &str) -> String {
    format!("local:{path}")
}

/// The digest that a cache in a directory has under a tag.
fn digest_of(path: &Path, tag: &str) -> Result<String, String> {
    let layout = Layout::open(path).map_err(|error| error.to_string())?;
    let image = layout.find(Some(tag)).map_err(|error| error.to_string())?;
    Ok(image.digest.to_string())
}

/// The entry with what the environment adds to it; `None` if it cannot work, as GitHub's cache outside of a workflow.
fn with_secrets(mut entry: CacheEntry, secrets: &CacheSecrets) -> Option<CacheEntry> {
    match entry.kind.as_str() {
        "gha" => {
            let version = entry.attributes.get("version").map(String::as_str);
            if version == Some("2") || version.is_none() && secrets.github_v2 {
                complete(&mut entry, "url_v2", secrets.github_results_url.as_ref());
            }
            complete(&mut entry, "token", secrets.github_token.as_ref());
            complete(&mut entry, "url", secrets.github_cache_url.as_ref());
            complete(&mut entry, "url", secrets.github_results_url.as_ref());
            let has = |key| filled(&entry, key).is_some();
            (has("token") && (has("url") || has("url_v2"))).then_some(entry)
        }
        "s3" => {
            let has = |key| entry.attributes.contains_key(key);
            // A session belongs to the keys that it was given with.
            if !(has("access_key_id") && has("secret_access_key")) {
                complete(&mut entry, "access_key_id", secrets.aws_access_key_id.as_ref());
                complete(&mut entry, "secret_access_key", secrets.aws_secret_access_key.as_ref());
                complete(&mut entry, "session_token", secrets.aws_session_token.as_ref());
            }
            Some(entry)
        }
        _ => Some(entry),
    }
}

/// Adds an attribute that the entry does not have.
fn complete(entry: &mut CacheEntry, key: &str, value: Option<&String>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        entry.attributes.entry(key.to_owned()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rbx_oci::layout::{DirectoryWriter, LayoutImage};
    use rbx_oci::{ANNOTATION_REF_NAME, Descriptor, media_type};
    use rbx_request::Features;

    use super::*;

    fn settings() -> Settings {
        Settings {
            driver: "docker".to_owned(),
            features: Features { cache_export: true, ..Features::default() },
            ..Settings::default()
        }
    }

    fn request(from: &[&str], to: &[&str]) -> BuildRequest {
        let parse = |texts: &[&str]| texts.iter().map(|text| CacheEntry::parse(text).unwrap()).collect();
        BuildRequest { cache_from: parse(from), cache_to: parse(to), ..BuildRequest::default() }
    }

    fn shown(entries: &[CacheEntry]) -> Vec<String> {
        entries.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn caches_are_passed_on_as_they_are_written() {
        let request =
            request(&["r/a", "type=azblob,name=n"], &["type=registry,ref=r/b,mode=max", "type=inline"]);
        let caches = Caches::of(&request, &settings()).unwrap();
        assert_eq!(shown(&caches.imports), ["r/a", "type=azblob,name=n"]);
        assert_eq!(shown(&caches.exports), ["type=registry,mode=max,ref=r/b", "type=inline"]);
    }

    #[test]
    fn a_build_argument_asks_for_an_inline_cache() {
        for (value, asks) in [("1", true), ("true", true), ("0", false), ("maybe", false)] {
            let mut request = request(&[], &[]);
            request.build_args.insert("BUILDKIT_INLINE_CACHE".to_owned(), value.to_owned());
            let caches = Caches::of(&request, &Settings::default()).unwrap();
            assert_eq!(shown(&caches.exports) == ["type=inline"], asks, "{value}");
        }
    }

    #[test]
    fn drivers_without_caches_say_so_before_the_build() {
        let settings = Settings { features: Features::default(), ..settings() };
        let error = Caches::of(&request(&[], &["type=local,dest=/d"]), &settings).unwrap_err();
        assert_eq!(error.reason, "Cache export is not supported for the docker driver.");
        assert!(Caches::of(&request(&[], &["type=inline"]), &settings).is_ok());
    }

    #[test]
    fn what_is_missing_is_an_error() {
        let cases = [
            (request(&["type=registry"], &[]), "registry cache importer requires ref"),
            (request(&["type=local"], &[]), "local cache importer requires src"),
            (request(&[], &["type=registry"]), "registry cache exporter requires ref"),
            (request(&[], &["type=local"]), "local cache exporter requires dest"),
        ];
        for (request, reason) in cases {
            assert_eq!(Caches::of(&request, &settings()).unwrap_err().reason, reason);
        }
    }

    #[test]
    fn local_caches_are_directories_of_the_session() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        let layout = DirectoryWriter::create(directory.path()).unwrap();
        let tagged = |tag: &str| {
            let descriptor = Descriptor::of(media_type::OCI_MANIFEST, tag.as_bytes());
            LayoutImage {
                descriptor: descriptor.with_annotation(ANNOTATION_REF_NAME, tag),
                names: Vec::new(),
            }
        };
        let images = ["latest", "v1"].map(tagged);
        layout.finish(&images).unwrap();

        let cases = [("", &images[0]), (",tag=v1", &images[1])];
        for (more, image) in cases {
            let request = request(&[&format!("type=local,src={path}{more}")], &[]);
            let caches = Caches::of(&request, &settings()).unwrap();
            let digest = image.descriptor.digest.to_string();
            assert_eq!(caches.imports[0].attributes["digest"], digest);
            assert_eq!(caches.stores[&format!("local:{path}")], directory.path());
        }

        let request = request(
            &[
                &format!("type=local,src={path},tag=v2"),
                "type=local,src=/nowhere",
                "type=local,src=/d,digest=x",
            ],
            &[&format!("type=local,dest={path}/new,tag=t")],
        );
        let caches = Caches::of(&request, &settings()).unwrap();
        assert_eq!(shown(&caches.imports), ["type=local,digest=x,src=/d"]);
        assert_eq!(caches.notes.len(), 2);
        assert!(caches.notes[0].starts_with(&format!("local cache import at {path} skipped: ")));
        assert_eq!(caches.updates[&directory.path().join("new")], "t");
        assert!(fs::read_dir(directory.path().join("new")).is_err());
    }

    #[test]
    fn the_environment_completes_github_and_s3() {
        let mut settings = settings();
        let some = |text: &str| Some(text.to_owned());
        let asked = request(&["type=gha,scope=s"], &["type=s3,bucket=b"]);
        let caches = Caches::of(&asked, &settings).unwrap();
        assert_eq!(shown(&caches.imports), <[String; 0]>::default());
        assert_eq!(shown(&caches.exports), ["type=s3,bucket=b"]);

        settings.cache_secrets = CacheSecrets {
            github_token: some("T"),
            github_results_url: some("https://results"),
            github_v2: true,
            aws_access_key_id: some("A"),
            aws_secret_access_key: some("S"),
            aws_session_token: some("Z"),
            ..CacheSecrets::default()
        };
        let caches = Caches::of(&asked, &settings).unwrap();
        assert_eq!(
            shown(&caches.imports),
            ["type=gha,scope=s,token=T,url=https://results,url_v2=https://results"]
        );
        assert_eq!(
            shown(&caches.exports),
            ["type=s3,access_key_id=A,bucket=b,secret_access_key=S,session_token=Z"]
        );
        let own = request(&[], &["type=s3,access_key_id=1,secret_access_key=2"]);
        let caches = Caches::of(&own, &settings).unwrap();
        assert_eq!(shown(&caches.exports), ["type=s3,access_key_id=1,secret_access_key=2"]);
    }
}
