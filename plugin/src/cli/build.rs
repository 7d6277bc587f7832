//! The flags of `build`.

use clap::{Parser, ValueHint};
use rbx_request::{GrammarError, Ulimit, parse_size};

use super::Common;

/// `build [OPTIONS] PATH | URL | -`
#[derive(Debug, Clone, Parser)]
#[command(name = "build", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The build context
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) context: String,

    /// Add a line to the hosts file of steps (format: "host:ip")
    #[arg(long, value_name = "strings")]
    pub(crate) add_host: Vec<String>,

    /// Grant the build a privilege (e.g., "network.host", "security.insecure", "device", "buildx.local.delete")
    #[arg(long, value_name = "stringArray")]
    pub(crate) allow: Vec<String>,

    /// Annotate the image (format: "[type:]key=value")
    #[arg(long, value_name = "stringArray")]
    pub(crate) annotation: Vec<String>,

    /// Attach an attestation (format: "type=sbom,generator=image")
    #[arg(long, value_name = "stringArray")]
    pub(crate) attest: Vec<String>,

    /// Set a variable of the Dockerfile's ARG (format: "name=value")
    #[arg(long, value_name = "stringArray")]
    pub(crate) build_arg: Vec<String>,

    /// Name another build context (format: "name=path")
    #[arg(long, value_name = "stringArray")]
    pub(crate) build_context: Vec<String>,

    /// Read cache from elsewhere (e.g., "user/app:cache", "type=local,src=path/to/dir")
    #[arg(long, value_name = "stringArray")]
    pub(crate) cache_from: Vec<String>,

    /// Write cache elsewhere (e.g., "user/app:cache", "type=local,dest=path/to/dir")
    #[arg(long, value_name = "stringArray")]
    pub(crate) cache_to: Vec<String>,

    /// What to do with the Dockerfile ("build", "check", "dry-run", "outline", "targets")
    #[arg(long, value_name = "string", default_value = "build")]
    pub(crate) call: String,

    /// Control group above those of "RUN" instructions
    #[arg(long, value_name = "string")]
    pub(crate) cgroup_parent: Option<String>,

    /// Same as "--call=check"
    #[arg(long)]
    pub(crate) check: bool,

    /// Same as "--call=dry-run": show which steps are cached and what runs the others, and build nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Write why the build failed to this file, as JSON
    // For programs that start the build, such as the language server.
    #[arg(long, value_name = "string", hide = true)]
    pub(crate) failure_file: Option<String>,

    /// Path of the Dockerfile (default: "PATH/Dockerfile")
    #[arg(long, short, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<String>,

    /// Write the image ID to this file
    #[arg(long, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) iidfile: Option<String>,

    /// Label the image (format: "key=value")
    #[arg(long, value_name = "stringArray")]
    pub(crate) label: Vec<String>,

    /// Same as "--output=type=docker"
    #[arg(long)]
    pub(crate) load: bool,

    /// Write what the build answers to this file, as JSON
    #[arg(long, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) metadata_file: Option<String>,

    /// Network of "RUN" instructions ("default", "host", "none")
    #[arg(long, value_name = "string", default_value = "default")]
    pub(crate) network: String,

    /// Do not use the cache
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Do not use the cache for this stage
    #[arg(long, value_name = "stringArray")]
    pub(crate) no_cache_filter: Vec<String>,

    /// OCI runtime that runs steps in place of the engine's own sandbox (e.g., "runc", "/path/to/crun")
    #[arg(long, value_name = "string", value_hint = ValueHint::CommandName)]
    pub(crate) oci_runtime: Option<String>,

    /// Where the result goes (format: "type=local,dest=path")
    #[arg(long, short, value_name = "stringArray", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Vec<String>,

    /// Platform to build for (format: "os/arch[/variant]")
    #[arg(long, value_name = "stringArray")]
    pub(crate) platform: Vec<String>,

    /// Check sources against a policy (format: "filename=path[,strict=bool]")
    #[arg(long, value_name = "stringArray")]
    pub(crate) policy: Vec<String>,

    /// How progress is shown ("auto", "none", "plain", "quiet", "rawjson", "tty"). "plain" shows all output of steps
    #[arg(long, value_name = "string", default_value = "auto")]
    pub(crate) progress: String,

    /// Same as "--attest=type=provenance"
    #[arg(long, value_name = "string")]
    pub(crate) provenance: Option<String>,

    /// Ask the registry for base images even if they are here
    #[arg(long)]
    pub(crate) pull: bool,

    /// Same as "--output=type=registry,unpack=false"
    #[arg(long)]
    pub(crate) push: bool,

    /// Show no progress, and print the image ID in the end
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Limit what steps use (e.g., "memory=2g", "cpu-quota=50000")
    #[arg(long, value_name = "stringArray")]
    pub(crate) resource: Vec<String>,

    /// Same as "--attest=type=sbom"
    #[arg(long, value_name = "string")]
    pub(crate) sbom: Option<String>,

    /// Show steps a secret (format: "id=mysecret[,src=/local/secret]")
    #[arg(long, value_name = "stringArray")]
    pub(crate) secret: Vec<String>,

    /// Size of /dev/shm in steps
    #[arg(long, value_name = "bytes", value_parser = parse_size)]
    pub(crate) shm_size: Option<u64>,

    /// Show steps an SSH agent or keys (format: "default|<id>[=<socket>|<key>[,<key>]]")
    #[arg(long, value_name = "stringArray")]
    pub(crate) ssh: Vec<String>,

    /// Name the image (format: "[registry/]repository[:tag]")
    #[arg(long, short, value_name = "stringArray")]
    pub(crate) tag: Vec<String>,

    /// Build this stage
    #[arg(long, value_name = "string")]
    pub(crate) target: Option<String>,

    /// Limit processes of steps (format: "type=soft[:hard]")
    #[arg(long, value_name = "ulimit", value_parser = parse_ulimit)]
    pub(crate) ulimit: Vec<Ulimit>,

    #[command(flatten)]
    pub(crate) old: OldFlags,
}

/// Flags of old versions, which are not shown.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(crate) struct OldFlags {
    #[arg(long, hide = true)]
    pub(crate) print: Option<String>,
    #[arg(long, short, hide = true)]
    pub(crate) memory: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) memory_swap: Option<String>,
    #[arg(long, short, hide = true)]
    pub(crate) cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpu_period: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpu_quota: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpuset_mems: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) compress: bool,
    #[arg(long, hide = true)]
    pub(crate) isolation: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) security_opt: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) squash: bool,
    #[arg(long, hide = true)]
    pub(crate) rm: bool,
    #[arg(long, hide = true)]
    pub(crate) force_rm: bool,
}

impl OldFlags {
    /// What is said about those that do nothing.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let said = [
            (self.isolation.is_some(), "isolation flag is deprecated with BuildKit."),
            (
                !self.security_opt.is_empty(),
                "security-opt flag is deprecated. \"RUN --security=insecure\" should be used with BuildKit.",
            ),
            (
                self.squash,
                "experimental flag squash is removed with BuildKit. You should squash inside build using a \
                 multi-stage Dockerfile for efficiency.",
            ),
        ];
        said.into_iter().filter_map(|(given, warning)| given.then_some(warning)).collect()
    }

    /// Those that `--resource` replaced, in its form.
    pub(crate) fn resources(&self) -> Vec<String> {
        let values = [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ];
        values.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?))).collect()
    }
}

fn parse_ulimit(text: &str) -> Result<Ulimit, GrammarError> {
    Ulimit::parse(text)
}
