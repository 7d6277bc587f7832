//! From flags to a request.

use std::io::Read;

use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_request::{
    AddHost, Annotation, Attestation, BuildRequest, CacheEntry, Call, GrammarError, Network, NoCache,
    OutputEntry, SecretEntry, SshEntry, SshForward, parse_contexts, parse_entitlements, parse_pairs,
    parse_platforms, parse_resources,
};

use super::outputs::{self, Keep, Load};
use super::{context, show};
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
    pub(crate) warning: Option<&'static str>,
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
        None => args.call.as_str(),
    };
    let caches = |flags: &[String]| -> Result<Vec<CacheEntry>, CliError> {
        let entries = each(flags, CacheEntry::parse_flag)?.into_iter().flatten();
        Ok(entries.map(|entry| entry.resolve(&env.cwd)).collect())
    };
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
        call: Call::parse(call).map_err(grammar)?.map(|call| call.name),
        policies: args.policy.clone(),
        build_args,
        ..BuildRequest::default()
    };
    Ok(Entries {
        request,
        outputs,
        secrets: each(&args.secret, SecretEntry::parse)?,
        ssh: args.ssh.iter().map(|text| SshEntry::parse(text)).collect(),
    })
}

/// Finds what the flags mean: paths, platforms, standard input.
pub(crate) fn prepare(
    args: &BuildArgs,
    env: &Env,
    entries: Entries,
    proxies: &Proxies,
    stdin: &mut dyn Read,
) -> Result<Prepared, CliError> {
    let Entries { mut request, outputs, secrets, ssh } = entries;
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
    request.ssh = SshForward::resolve_all(&ssh, &env.cwd, env.filled("SSH_AUTH_SOCK")).map_err(grammar)?;

    for text in &args.annotation {
        Annotation::parse(text).map_err(|error| CliError::new(format!("parse annotations: {error}")))?;
    }
    request.annotations.clone_from(&args.annotation);

    let (allow, allow_delete) = parse_entitlements(&args.allow).map_err(grammar)?;
    request.allow = allow;
    request.tags = args.tag.iter().map(|tag| parse_tag(tag)).collect::<Result<_, _>>()?;
    let outputs = outputs::resolve(args, &outputs, request.call.is_some(), &request.tags, allow_delete, env)?;
    request.outputs = outputs.outputs;

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
        print_id: show::prints_id(args),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn grammar(error: GrammarError) -> CliError {
    CliError::new(error.to_string())
}

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, GrammarError>) -> Result<Vec<T>, CliError> {
    texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map_err(grammar)
}

fn parse_tag(tag: &str) -> Result<Reference, CliError> {
    Reference::parse(tag).map_err(|error| CliError::new(format!("invalid tag {tag:?}: {error}")))
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
