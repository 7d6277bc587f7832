//! What caches outside of registries take from the environment: tokens and keys.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use rbx_buildkit::build::CacheSecrets;

use super::results::is_true;
use crate::env::Env;

/// Bound on the file with AWS's keys, in bytes.
const KEYS: u64 = 1 << 20;

/// What the environment has for caches in GitHub's and AWS's services.
pub(crate) fn secrets(env: &Env) -> CacheSecrets {
    let owned = |name: &str| env.var(name).map(str::to_owned);
    let [key, secret, token] = aws_of_environment(env).or_else(|| aws_of_file(env)).unwrap_or_default();
    CacheSecrets {
        github_token: owned("ACTIONS_RUNTIME_TOKEN"),
        github_cache_url: owned("ACTIONS_CACHE_URL"),
        github_results_url: owned("ACTIONS_RESULTS_URL"),
        github_v2: env.var("ACTIONS_CACHE_SERVICE_V2").is_some_and(is_true),
        aws_access_key_id: key,
        aws_secret_access_key: secret,
        aws_session_token: token,
    }
}

fn aws_of_environment(env: &Env) -> Option<[Option<String>; 3]> {
    let first = |names: [&str; 2]| names.iter().find_map(|name| env.filled(name)).map(str::to_owned);
    let key = first(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"])?;
    let secret = first(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"])?;
    Some([Some(key), Some(secret), env.filled("AWS_SESSION_TOKEN").map(str::to_owned)])
}

/// The keys of a profile in the file where AWS's tools keep them.
fn aws_of_file(env: &Env) -> Option<[Option<String>; 3]> {
    let path: PathBuf = env
        .path("AWS_SHARED_CREDENTIALS_FILE")
        .or_else(|| env.home().map(|home| home.join(".aws/credentials")))?;
    let mut text = String::new();
    File::open(path).ok()?.take(KEYS).read_to_string(&mut text).ok()?;
    let profile =
        env.filled("AWS_PROFILE").or_else(|| env.filled("AWS_DEFAULT_PROFILE")).unwrap_or("default");
    let mut values = BTreeMap::new();
    let mut inside = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = name.trim() == profile;
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            values.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let mut value = |key: &str| values.remove(key).filter(|value| !value.is_empty());
    let keys = [value("aws_access_key_id"), value("aws_secret_access_key"), value("aws_session_token")];
    keys[..2].iter().all(Option::is_some).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws(variables: &[(&str, &str)]) -> String {
        let secrets = secrets(&Env::with(variables));
        let keys = [secrets.aws_access_key_id, secrets.aws_secret_access_key, secrets.aws_session_token];
        keys.map(|key| key.unwrap_or_else(|| "-".to_owned())).join(" ")
    }

    #[test]
    fn caches_at_aws_have_the_users_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let text = "[default]\naws_access_key_id = a\n[ other ]\n# x\naws_access_key_id=b\nAWS_SECRET_ACCESS_KEY= c=\n";
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", path.as_str());
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")];
        for (variables, wanted) in [
            (&[][..], "- - -"),
            (&keys, "k s t"),
            (&keys[..2], "k s -"),
            // Half a key is none.
            (&[keys[0], file], "- - -"),
            (&[file, ("AWS_PROFILE", "other")], "b c= -"),
            (&[file, ("AWS_PROFILE", "none")], "- - -"),
        ] {
            assert_eq!(aws(variables), wanted, "{variables:?}");
        }
    }

    #[test]
    fn caches_at_github_have_the_runners_token() {
        let secrets = secrets(&Env::with(&[
            ("ACTIONS_RUNTIME_TOKEN", "t"),
            ("ACTIONS_RESULTS_URL", "https://r"),
            ("ACTIONS_CACHE_SERVICE_V2", "True"),
        ]));
        assert_eq!(secrets.github_token.as_deref(), Some("t"));
        assert_eq!(secrets.github_results_url.as_deref(), Some("https://r"));
        assert!(secrets.github_v2 && secrets.github_cache_url.is_none());
    }
}
