//! From flags to a request.

use std::fs;
use std::io::Read;

use rbx_oci::{Reference, ReferenceError};
use rbx_platform::Platform;
use rbx_request::{
    AddHost, Annotation, Attestation, BuildRequest, CacheEntry, Call, GrammarError, MAX_SECRET_LEN, Network,
    NoCache, OutputEntry, Secret, SecretEntry, SecretSource, SshEntry, SshForward, parse_contexts,
    parse_entitlements, parse_pairs, parse_platforms, parse_resources,
};

use super::outputs::{self, Keep, Load, Target};
use super::{context, dry_run, policies, show};
use crate::cli::build::BuildArgs;
use crate::docker::Proxies;
use crate::env::Env;
use crate::errors::CliError;

/// The variable that sets the time of everything in an image.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The build argument that names another front end.
const SYNTAX: &str = "BUILDKIT_SYNTAX";

/// What flags say by their grammar, before anything is looked up.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    request: BuildRequest,
    outputs: Vec<OutputEntry>,
    secrets: Vec<SecretEntry>,
    ssh: Vec<SshEntry>,
    policies_disabled: bool,
    call: Option<Call>,
}

/// A request, and what is to be done beside it.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// For the engine.
    pub(crate) request: BuildRequest,
    /// The loads that were asked for.
    pub(crate) loads: Vec<Load>,
    /// What becomes of a result that nobody said anything about.
    pub(crate) keep: Keep,
    /// What the user is told before the build.
    pub(crate) warning: Option<String>,
    /// `--call`, if it asks for something else than a build.
    pub(crate) call: Option<Call>,
    /// The image ID is printed in the end.
    pub(crate) print_id: bool,
}

/// Reads the flags that have a grammar.
pub(crate) fn parse(args: &BuildArgs, env: &Env) -> Result<Entries, CliError> {
    let lookup = |name: &str| env.var(name).map(str::to_owned);
    let mut build_args = parse_pairs(&args.build_arg, Some(&lookup)).map_err(grammar)?;
    if let Some(epoch) = env.filled(EPOCH) {
        build_args.entry(EPOCH.to_owned()).or_insert_with(|| epoch.to_owned());
    }
    let (provenance, sbom) = (args.provenance.as_deref(), args.sbom.as_deref());
    let outputs: Vec<OutputEntry> = each(&args.output, OutputEntry::parse)?;
    let by_files = |output: &OutputEntry| matches!(output.kind.as_str(), "local" | "tar");
    if args.iidfile.is_some() && outputs.iter().any(by_files) {
        return Err(CliError::new("local and tar exporters are incompatible with image ID file"));
    }
    let call = match &args.old.print {
        Some(print) => print,
        None if args.check => "check",
        None if args.dry_run => dry_run::NAME,
        None => args.call.as_str(),
    };
    let caches = |flags: &[String]| -> Result<Vec<CacheEntry>, CliError> {
        let entries = each(flags, CacheEntry::parse_flag)?.into_iter().flatten();
        Ok(entries.map(|entry| entry.resolve(&env.cwd)).collect())
    };
    let policies_disabled = policies::check(&args.policy)?;
    let call = Call::parse(call).map_err(grammar)?;
    let request = BuildRequest {
        labels: parse_pairs(&args.label, None).map_err(grammar)?,
        attestations: Attestation::parse_all(
            &args.attest,
            provenance.unwrap_or_default(),
            sbom.unwrap_or_default(),
        )
        .map_err(grammar)?,
        named_contexts: parse_contexts(&args.build_context).map_err(grammar)?,
        cache_from: caches(&args.cache_from)?,
        cache_to: caches(&args.cache_to)?,
        call: call.as_ref().map(|call| call.name.clone()),
        build_args,
        ..BuildRequest::default()
    };
    Ok(Entries {
        request,
        outputs,
        secrets: each(&args.secret, SecretEntry::parse)?,
        ssh: args.ssh.iter().map(|text| SshEntry::parse(text)).collect(),
        policies_disabled,
        call,
    })
}

/// Finds what the flags mean: paths, platforms, standard input.
pub(crate) fn prepare(
    args: &BuildArgs,
    env: &Env,
    entries: Entries,
    proxies: &Proxies,
    target: Target,
    stdin: Box<dyn Read + Send>,
) -> Result<Prepared, CliError> {
    let Entries { mut request, outputs, secrets, ssh, policies_disabled, call } = entries;
    request.no_cache = match (args.no_cache, args.no_cache_filter.as_slice()) {
        (true, []) => NoCache::All,
        (false, []) => NoCache::Use,
        (false, stages) => NoCache::Stages(stages.to_vec()),
        (true, _) => {
            return Err(CliError::new("--no-cache and --no-cache-filter cannot currently be used together"));
        }
    };
    let resources = [args.old.resources(), args.resource.clone()].concat();
    request.resources = parse_resources(&resources).map_err(grammar)?;

    let default_platform = env.filled("DOCKER_DEFAULT_PLATFORM").map(str::to_owned);
    let platforms = if args.platform.is_empty() { default_platform.as_slice() } else { &args.platform };
    request.platforms = parse_platforms(platforms, &Platform::host()).map_err(grammar)?;

    let lookup = |name: &str| env.var(name).map(str::to_owned);
    let secret = |entry: &SecretEntry| entry.resolve(&env.cwd, &lookup);
    request.secrets = secrets.iter().map(secret).collect::<Result<_, _>>().map_err(grammar)?;
    for (entry, secret) in secrets.iter().zip(&request.secrets) {
        check_secret(entry, secret)?;
    }
    request.ssh = SshForward::resolve_all(&ssh, &env.cwd, env.filled("SSH_AUTH_SOCK")).map_err(grammar)?;

    for text in &args.annotation {
        Annotation::parse(text).map_err(|error| CliError::new(format!("parse annotations: {error}")))?;
    }
    request.annotations.clone_from(&args.annotation);

    let (allow, allow_delete) = parse_entitlements(&args.allow).map_err(grammar)?;
    request.allow = allow;
    request.tags = args.tag.iter().map(|tag| parse_tag(tag)).collect::<Result<_, _>>()?;
    let outputs = outputs::resolve(args, &outputs, call.is_some(), &request.tags, allow_delete, target, env)?;
    request.outputs = outputs.requested;

    if request.build_args.get(SYNTAX).is_some_and(|syntax| syntax.trim().is_empty()) {
        return Err(CliError::new(
            "empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '=' for optional \
             behavior",
        ));
    }
    proxies.add_to(&mut request.build_args);

    let (source, dockerfile) = context::find(&args.context, args.file.as_deref(), &env.cwd, stdin)?;
    request.context = source;
    request.dockerfile = dockerfile;
    context::resolve_named(&mut request.named_contexts, &env.cwd)?;
    if !policies_disabled {
        policies::check_beside(&request)?;
    }

    request.pull = args.pull;
    request.target = args.target.clone().filter(|target| !target.is_empty());
    request.network = Network::parse(&args.network).map_err(grammar)?;
    request.add_hosts = each(&split_list(&args.add_host)?, AddHost::parse)?;
    request.shm_size = args.shm_size.filter(|size| *size > 0);
    request.ulimits.clone_from(&args.ulimit);
    request.cgroup_parent = args.cgroup_parent.clone().filter(|parent| !parent.is_empty());
    Ok(Prepared {
        request,
        loads: outputs.loads,
        keep: outputs.keep,
        warning: outputs.warning,
        call,
        print_id: show::prints_id(args),
    })
}

/// Refuses a secret that cannot be read, or is none by its size.
fn check_secret(entry: &SecretEntry, secret: &Secret) -> Result<(), CliError> {
    let SecretSource::File(path) = &secret.source else { return Ok(()) };
    let written = entry.file.as_deref().unwrap_or(&entry.id);
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX_SECRET_LEN as u64 => {
            Err(CliError::new(format!("secret {} too big. max size 500KB", secret.id)))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => error.to_string(),
            };
            Err(CliError::new(format!("failed to stat {written}: stat {written}: {reason}")))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn grammar(error: GrammarError) -> CliError {
    CliError::new(error.to_string())
}

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, GrammarError>) -> Result<Vec<T>, CliError> {
    texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map_err(grammar)
}

fn parse_tag(tag: &str) -> Result<Reference, CliError> {
    Reference::parse(tag).map_err(|error| {
        let reason = match error {
            ReferenceError::Uppercase(_) => "repository name must be lowercase".to_owned(),
            error => error.to_string(),
        };
        CliError::new(format!("invalid tag {tag:?}: {reason}"))
    })
}

/// The values of a flag that takes several in one, separated by commas, with quotes as in RFC 4180.
fn split_list(texts: &[String]) -> Result<Vec<String>, CliError> {
    let mut values = Vec::new();
    for text in texts {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        for record in reader.records() {
            let record = record.map_err(|error| CliError::new(format!("{error}: {text}")))?;
            values.extend(record.iter().map(str::to_owned));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rbx_request::{ContextSource, DockerfileSource};

    use super::*;
    use crate::cli::flags::{self, Mixed};
    use crate::cli::{self, parse_line};

    /// A context, and an environment in it.
    struct Fixture {
        directory: tempfile::TempDir,
        env: Env,
    }

    impl Fixture {
        fn new(variables: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("Dockerfile"), "FROM scratch\n").unwrap();
            std::fs::create_dir(directory.path().join("dir")).unwrap();
            let mut env = Env::with(variables);
            env.cwd = directory.path().to_owned();
            Self { directory, env }
        }

        /// What the words after `build` ask for.
        fn prepare(&self, words: &[&str]) -> Result<Prepared, String> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let definition = (cli::entry("build").unwrap().definition)();
            let line = flags::read(&definition, &words, Mixed::Yes)?;
            let args: BuildArgs = parse_line(&line.flags, &line.operands)?;
            let proxies = Proxies::default();
            let target = Target { driver: rbx_driver::DriverKind::Embedded, default_load: true };
            parse(&args, &self.env)
                .and_then(|entries| {
                    prepare(&args, &self.env, entries, &proxies, target, Box::new(&b"FROM x"[..]))
                })
                .map_err(|error| {
                    let mut text = Vec::new();
                    error.report(&mut text).unwrap();
                    String::from_utf8(text).unwrap().trim_end().trim_start_matches("ERROR: ").to_owned()
                })
        }

        fn request(&self, words: &[&str]) -> BuildRequest {
            self.prepare(words).unwrap().request
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }
    }

    type Get<'a> = &'a dyn Fn(&BuildRequest) -> String;

    /// One field of the request for `. words`, as debug output.
    fn field(words: &[&str], get: Get<'_>) -> String {
        get(&Fixture::new(&[]).request(&[&["."], words].concat()))
    }

    #[test]
    fn nothing_but_a_context_asks_for_the_defaults() {
        let fixture = Fixture::new(&[]);
        let prepared = fixture.prepare(&["dir/.."]).unwrap();
        assert_eq!(prepared.request.context, ContextSource::Directory(fixture.path("dir/..")));
        assert_eq!(prepared.request.dockerfile, DockerfileSource::Path(fixture.path("dir/../Dockerfile")));
        assert!(prepared.warning.is_some() && prepared.loads.is_empty() && !prepared.print_id);
        let rest = BuildRequest {
            context: ContextSource::Empty,
            dockerfile: DockerfileSource::default(),
            ..prepared.request
        };
        assert_eq!(format!("{rest:?}"), format!("{:?}", BuildRequest::default()));
    }

    #[test]
    fn every_flag_reaches_the_request() {
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        let table: &[(&[&str], Get<'_>, &str)] = &[
            (
                &["--add-host", "a=10.0.0.1,b:[::1]"],
                &|r| text(&r.add_hosts),
                r#"[AddHost { host: "a", addresses: ["10.0.0.1"] }, AddHost { host: "b", addresses: ["::1"] }]"#,
            ),
            (&["--allow=network.host"], &|r| text(&r.allow), r#"["network.host"]"#),
            (&["--allow=buildx.local.delete"], &|r| text(&r.allow), "[]"),
            (&["--annotation=index:a=b"], &|r| text(&r.annotations), r#"["index:a=b"]"#),
            (
                &["--attest=type=sbom,generator=x", "--provenance=false", "--sbom=true"],
                &|r| text(&r.attestations),
                "[Attestation { kind: \"sbom\", enabled: true, attributes: {\"generator\": \"x\"} }, Attestation { \
                 kind: \"provenance\", enabled: false, attributes: {} }]",
            ),
            (&["--build-arg=A=1", "--build-arg", "B"], &|r| text(&r.build_args), r#"{"A": "1"}"#),
            (
                &["--build-context=alpine:latest=docker-image://busybox"],
                &|r| text(&r.named_contexts),
                r#"{"alpine": "docker-image://busybox"}"#,
            ),
            (
                &["--cache-from=user/app,user/other"],
                &|r| text(&r.cache_from.iter().map(|it| it.attributes["ref"].clone()).collect::<Vec<_>>()),
                r#"["user/app", "user/other"]"#,
            ),
            (&["--cache-to=type=inline"], &|r| text(&r.cache_to[0].kind), r#""inline""#),
            (&["--call=check"], &|r| text(&r.call), r#"Some("lint")"#),
            (&["--call=outline,format=json"], &|r| text(&r.call), r#"Some("outline")"#),
            (&["--check"], &|r| text(&r.call), r#"Some("lint")"#),
            (&["--print=targets"], &|r| text(&r.call), r#"Some("targets")"#),
            (&["--cgroup-parent=/x"], &|r| text(&r.cgroup_parent), r#"Some("/x")"#),
            (&["-f", "-"], &|r| text(&r.dockerfile), "Inline([70, 82, 79, 77, 32, 120])"),
            (&["--label=a=1", "--label=b"], &|r| text(&r.labels), r#"{"a": "1", "b": ""}"#),
            (&["--network=none"], &|r| text(&r.network), "None"),
            (&["--no-cache"], &|r| text(&r.no_cache), "All"),
            (&["--no-cache", "--no-cache=false"], &|r| text(&r.no_cache), "Use"),
            (
                &["--no-cache-filter=a", "--no-cache-filter=b"],
                &|r| text(&r.no_cache),
                r#"Stages(["a", "b"])"#,
            ),
            (&["-o", "type=cacheonly"], &|r| text(&r.outputs[0].kind), "CacheOnly"),
            (&["--push", "-t", "a"], &|r| text(&r.outputs[0].attributes["push"]), r#""true""#),
            (
                &["--platform=linux/arm64/v8,linux/arm"],
                &|r| r.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                "linux/arm64 linux/arm/v7",
            ),
            (&["--pull"], &|r| text(&r.pull), "true"),
            (
                &["-m", "1k", "--memory-swap=-1", "-c2", "--cpu-quota=3", "--resource=cpu-shares=4"],
                &|r| text(&r.resources),
                r#"{"cpu-quota": "3", "cpu-shares": "4", "memory": "1024", "memory-swap": "-1"}"#,
            ),
            (&["--shm-size=64m"], &|r| text(&r.shm_size), "Some(67108864)"),
            (&["--ssh=k=/key"], &|r| text(&r.ssh), r#"[SshForward { id: "k", paths: ["/key"] }]"#),
            (
                &["-t", "a", "-tb:1"],
                &|r| r.tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                "docker.io/library/a:latest docker.io/library/b:1",
            ),
            (&["--target=x"], &|r| text(&r.target), r#"Some("x")"#),
            (
                &["--ulimit", "nofile=1:2"],
                &|r| text(&r.ulimits),
                r#"[Ulimit { name: "nofile", soft: 1, hard: 2 }]"#,
            ),
            (&["--rm=false", "--force-rm", "--compress", "--squash"], &|r| text(&r.tags), "[]"),
        ];
        for (words, get, wanted) in table {
            assert_eq!(field(words, get), *wanted, "{words:?}");
        }
    }

    #[test]
    fn the_environment_reaches_the_request() {
        let fixture = Fixture::new(&[
            ("B", "2"),
            ("SOURCE_DATE_EPOCH", "7"),
            ("DOCKER_DEFAULT_PLATFORM", "linux/s390x"),
            ("TOKEN", "secret"),
            ("SSH_AUTH_SOCK", "/agent"),
        ]);
        let request = fixture.request(&[".", "--build-arg=B", "--secret=id=TOKEN", "--ssh=default"]);
        assert_eq!(format!("{:?}", request.build_args), r#"{"B": "2", "SOURCE_DATE_EPOCH": "7"}"#);
        assert_eq!(request.platforms[0].to_string(), "linux/s390x");
        assert_eq!(request.secrets[0].source, SecretSource::Value(b"secret".to_vec()));
        assert_eq!(request.ssh[0].paths, [PathBuf::from("/agent")]);

        fs::write(fixture.path("y"), "").unwrap();
        let request = fixture.request(&[
            ".",
            "--build-arg=SOURCE_DATE_EPOCH=1",
            "--platform=linux/amd64",
            "--secret=id=x,src=y",
        ]);
        assert_eq!(request.build_args["SOURCE_DATE_EPOCH"], "1");
        assert_eq!(request.platforms[0].to_string(), "linux/amd64");
        assert_eq!(request.secrets[0].source, SecretSource::File(fixture.path("y")));
    }

    #[test]
    fn what_does_not_fit_is_said_in_the_words_of_buildx() {
        let fixture = Fixture::new(&[]);
        let table: &[(&[&str], &str)] = &[
            (
                &[".", "--no-cache", "--no-cache-filter=x"],
                "--no-cache and --no-cache-filter cannot currently be used together",
            ),
            (&[".", "--build-arg==x"], "invalid key-value pair \"=x\": empty key"),
            (
                &[".", "--iidfile=x", "-o", "out"],
                "local and tar exporters are incompatible with image ID file",
            ),
            (&[".", "-o", "dest=x,mode=y"], "type is required for output"),
            (&[".", "-o", "-", "-o", "type=oci"], "multiple outputs configured to write to stdout"),
            (&[".", "--push"], "tag is needed when pushing to registry"),
            (
                &[".", "--network=bridge"],
                "network mode \"bridge\" not supported by buildkit - you can define a custom network for your builder \
                 using the network driver-opt in buildx create",
            ),
            (&[".", "--add-host=x"], "invalid host x"),
            (&[".", "-t", "a b"], "invalid tag \"a b\": invalid reference format"),
            (&[".", "--secret=id=a,x=y"], "unexpected key 'x' in 'x=y'"),
            (&[".", "--attest=mode=max"], "attestation type not specified"),
            (&[".", "--annotation=x"], "parse annotations: invalid annotation \"x\", expected key=value"),
            (&[".", "--allow=everything"], "unknown entitlement everything"),
            (
                &[".", "--build-arg=BUILDKIT_SYNTAX="],
                "empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '=' for optional \
                 behavior",
            ),
            (&["nowhere"], "unable to prepare context: path \"nowhere\" not found"),
            (&["-", "-f-"], "invalid argument: can't use stdin for both build context and dockerfile"),
            (
                &[".", "--ulimit=x"],
                "invalid argument \"x\" for \"--ulimit\" flag: invalid ulimit argument: x",
            ),
            (&[".", "--shm-size", "x"], "invalid argument \"x\" for \"--shm-size\" flag: invalid size: 'x'"),
        ];
        for (words, wanted) in table {
            assert_eq!(fixture.prepare(words).unwrap_err(), *wanted, "{words:?}");
        }
    }

    #[test]
    fn a_dockerfile_alone_has_an_empty_context() {
        let request = Fixture::new(&[]).request(&["-"]);
        assert_eq!(request.context, ContextSource::Empty);
        assert_eq!(request.dockerfile, DockerfileSource::Inline(b"FROM x".to_vec()));
    }
}
