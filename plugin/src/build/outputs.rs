//! Where the result goes: `--output`, `--push`, `--load`, and what happens without them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use rbx_driver::DriverKind;
use rbx_oci::Reference;
use rbx_request::{LOCAL_DELETE, Output, OutputDestination, OutputEntry, OutputKind};

use super::results::{is_false, is_true};
use crate::cli::build::BuildArgs;
use crate::env::Env;
use crate::errors::CliError;

/// What the outputs of a build depend on besides its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The builder's driver.
    pub(crate) driver: DriverKind,
    /// Images go to the Docker Engine unless they are sent elsewhere.
    pub(crate) default_load: bool,
}

impl Target {
    /// What is said where nothing is kept of a build but its cache.
    fn no_output(self) -> String {
        let what = match self.driver {
            DriverKind::Embedded => {
                "To keep the image name it with --tag, to load it into docker use --load, to write it to a file use \
                 --output"
            }
            _ => "To push result image into registry use --push or to load image into docker use --load",
        };
        let driver = self.driver;
        format!(
            "No output specified with {driver} driver. Build result will only remain in the build cache. {what}"
        )
    }
}

/// Where the result goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// What the engine is asked for.
    pub(crate) requested: Vec<Output>,
    /// The Engines that have to take the image.
    pub(crate) loads: Vec<Load>,
    /// What becomes of it besides.
    pub(crate) keep: Keep,
    /// What the user is told before the build.
    pub(crate) warning: Option<String>,
}

/// A load that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// The context of docker, if not the current one.
    pub(crate) context: Option<String>,
    /// The image's names; those of `--tag` if none.
    pub(crate) names: Option<String>,
}

/// What becomes of a result that nobody said anything about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing besides the outputs.
    #[default]
    Nowhere,
    /// It stays in the store, and goes to the Engine if one answers.
    InStore,
    /// It stays in the store.
    InStoreOnly,
}

/// Resolves what was asked for. `entries` are the parsed `--output`s.
pub(crate) fn resolve(
    args: &BuildArgs,
    entries: &[OutputEntry],
    calls: bool,
    tags: &[Reference],
    allow_delete: bool,
    target: Target,
    env: &Env,
) -> Result<Outputs, CliError> {
    let mut outputs =
        Output::resolve_all(entries, &env.cwd).map_err(|error| CliError::new(error.to_string()))?;
    for (output, entry) in outputs.iter().zip(entries) {
        check_destination(output, entry.destination.as_deref().unwrap_or_default(), env)?;
    }
    if args.push {
        push(&mut outputs);
    }
    if args.load && !outputs.iter().any(is_load) {
        outputs.push(plain(OutputKind::Docker));
    }
    for output in &outputs {
        check_delete(output, allow_delete, env)?;
    }
    let pushed = |output: &Output| output.attributes.get("push").is_some_and(|push| is_true(push));
    if tags.is_empty() && outputs.iter().any(|it| pushed(it) && !it.attributes.contains_key("name")) {
        return Err(CliError::new("tag is needed when pushing to registry"));
    }

    let mut all = Outputs::default();
    for output in &mut outputs {
        if is_load(output) {
            let context = output.attributes.remove("context");
            all.loads.push(Load { context, names: output.attributes.get("name").cloned() });
        }
    }
    let no_load = env.filled("BUILDX_NO_DEFAULT_LOAD").is_some_and(is_true);
    if outputs.is_empty() && !calls && target.driver != DriverKind::Embedded {
        // What becomes of it in a Docker Engine is the protocol's affair.
        if target.driver != DriverKind::Docker && !no_load {
            if target.default_load {
                all.loads.push(Load::default());
            } else {
                all.warning = Some(target.no_output());
            }
        }
    } else if outputs.is_empty() && !calls {
        if tags.is_empty() {
            all.warning = (!no_load).then(|| target.no_output());
            if super::show::prints_id(args) || args.iidfile.is_some() || args.metadata_file.is_some() {
                // An output that is written nowhere: the image is put together, so that it has an ID.
                outputs.push(plain(OutputKind::Docker));
            }
        } else {
            outputs.push(plain(OutputKind::Image));
            all.keep = if no_load { Keep::InStoreOnly } else { Keep::InStore };
        }
    }
    all.requested = outputs;
    Ok(all)
}

fn plain(kind: OutputKind) -> Output {
    Output { kind, destination: None, attributes: BTreeMap::new() }
}

/// Whether an output is for an Engine.
fn is_load(output: &Output) -> bool {
    output.kind == OutputKind::Docker && output.destination.is_none()
}

/// `--push`: every image is pushed; there is one if there was none.
fn push(outputs: &mut Vec<Output>) {
    let image = |output: &Output| output.kind == OutputKind::Image;
    if !outputs.iter().any(image) {
        outputs.push(plain(OutputKind::Image));
    }
    for output in outputs.iter_mut().filter(|output| image(output)) {
        output.attributes.insert("push".to_owned(), "true".to_owned());
        output.attributes.entry("unpack".to_owned()).or_insert_with(|| "false".to_owned());
    }
}

fn name(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Local => "local",
        OutputKind::Tar => "tar",
        OutputKind::Oci => "oci",
        OutputKind::Docker => "docker",
        OutputKind::Image => "image",
        OutputKind::CacheOnly => "cacheonly",
    }
}

/// Refuses what cannot be written to; `written` is the destination as the user has it.
fn check_destination(output: &Output, written: &str, env: &Env) -> Result<(), CliError> {
    let kind = name(output.kind);
    let path = match &output.destination {
        Some(OutputDestination::Stdout) if env.stdout_is_terminal => {
            return Err(CliError::new(format!(
                "dest file is required for {kind} exporter. refusing to write to console"
            )));
        }
        None | Some(OutputDestination::Stdout) => return Ok(()),
        Some(OutputDestination::Path(path)) => path,
    };
    let directory = output.kind == OutputKind::Local
        || matches!(output.kind, OutputKind::Oci | OutputKind::Docker)
            && output.attributes.get("tar").is_some_and(|tar| is_false(tar));
    match fs::metadata(path) {
        Ok(found) if directory && !found.is_dir() => {
            Err(CliError::new(format!("destination directory {written} is a file")))
        }
        Ok(found) if !directory && found.is_dir() => {
            Err(CliError::new(format!("destination file {written} is a directory")))
        }
        _ => Ok(()),
    }
}

/// `mode=delete` empties its directory: that is allowed below the current one, and elsewhere with a flag.
fn check_delete(output: &Output, allowed: bool, env: &Env) -> Result<(), CliError> {
    let (OutputKind::Local, Some(OutputDestination::Path(path))) = (output.kind, &output.destination) else {
        return Ok(());
    };
    match output.attributes.get("mode").map(String::as_str) {
        Some("delete") if !allowed => {}
        None | Some("" | "copy" | "delete") => return Ok(()),
        Some(mode) => return Err(CliError::new(format!("invalid local exporter mode {mode:?}"))),
    }
    let (destination, cwd) = (real(path), real(&env.cwd));
    if destination.starts_with(&cwd) && destination != cwd {
        return Ok(());
    }
    Err(CliError::new(format!(
        "local output mode=delete for destination {:?} requires --allow={LOCAL_DELETE}",
        path.display().to_string()
    )))
}

/// A path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(found) = fs::canonicalize(existing) {
            let mut real = found;
            for part in missing.into_iter().rev() {
                match part {
                    Component::ParentDir => drop(real.pop()),
                    part => real.push(part),
                }
            }
            return real;
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(last)) => {
                missing.push(last);
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_line;

    const EMBEDDED: Target = Target { driver: DriverKind::Embedded, default_load: true };

    fn resolved(flags: &[&str], env: &Env) -> Result<Outputs, String> {
        resolved_for(EMBEDDED, flags, env)
    }

    fn resolved_for(target: Target, flags: &[&str], env: &Env) -> Result<Outputs, String> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let args: BuildArgs = parse_line(&flags, &[".".to_owned()]).unwrap();
        let entries: Vec<_> = args.output.iter().map(|text| OutputEntry::parse(text).unwrap()).collect();
        let tags: Vec<_> = args.tag.iter().map(|tag| Reference::parse(tag).unwrap()).collect();
        resolve(&args, &entries, args.check, &tags, false, target, env).map_err(|error| {
            let mut text = Vec::new();
            error.report(&mut text).unwrap();
            String::from_utf8(text).unwrap().trim_end().trim_start_matches("ERROR: ").to_owned()
        })
    }

    /// The outputs, the loads and what is kept, in short.
    fn short(target: Target, flags: &[&str], env: &Env) -> String {
        let all = resolved_for(target, flags, env).unwrap();
        let outputs = all.requested.iter().map(|output| {
            let attributes = output.attributes.iter().map(|(key, value)| format!(",{key}={value}"));
            format!("{}{}", name(output.kind), attributes.collect::<String>())
        });
        let loads =
            all.loads.iter().map(|load| format!("load{:?}", load.context.as_deref().unwrap_or_default()));
        let mut words: Vec<String> = outputs.chain(loads).collect();
        if all.keep != Keep::Nowhere {
            words.push(format!("{:?}", all.keep));
        }
        words.extend(all.warning.map(|_| "warning".to_owned()));
        words.join(" ")
    }

    #[test]
    fn flags_make_outputs() {
        let table: &[(&[&str], &str)] = &[
            (&[], "warning"),
            (&["--quiet"], "docker warning"),
            (&["--progress=quiet"], "docker warning"),
            (&["--iidfile=id"], "docker warning"),
            (&["--check"], ""),
            (&["--tag=a"], "image InStore"),
            (&["--tag=a", "--output=type=cacheonly"], "cacheonly"),
            (&["--load"], "docker load\"\""),
            (&["--output=type=docker,context=c", "--load"], "docker load\"c\""),
            (&["--output=type=docker,dest=a.tar", "--load"], "docker docker load\"\""),
            (&["--push", "--tag=a"], "image,push=true,unpack=false"),
            (&["--push", "--output=type=image,name=x,unpack=true"], "image,name=x,push=true,unpack=true"),
            (&["--push", "--load", "--tag=a"], "image,push=true,unpack=false docker load\"\""),
            (&["--output=out", "--push", "--tag=a"], "local image,push=true,unpack=false"),
        ];
        for (flags, wanted) in table {
            assert_eq!(short(EMBEDDED, flags, &Env::with(&[])), *wanted, "{flags:?}");
        }
    }

    #[test]
    fn without_outputs_drivers_do_what_they_do_in_buildx() {
        let target = |driver, default_load| Target { driver, default_load };
        let container = target(DriverKind::DockerContainer, false);
        let table: &[(Target, &[&str], &str)] = &[
            (target(DriverKind::Docker, true), &[], ""),
            (target(DriverKind::Docker, true), &["--tag=a"], ""),
            (container, &["--tag=a"], "warning"),
            (container, &["--check"], ""),
            (container, &["--output=type=cacheonly"], "cacheonly"),
            (container, &["--load"], "docker load\"\""),
            (target(DriverKind::Remote, true), &["--tag=a"], "load\"\""),
            (target(DriverKind::Remote, true), &["--push", "--tag=a"], "image,push=true,unpack=false"),
        ];
        for (target, flags, wanted) in table {
            assert_eq!(short(*target, flags, &Env::with(&[])), *wanted, "{target:?} {flags:?}");
        }
        let env = Env::with(&[("BUILDX_NO_DEFAULT_LOAD", "1")]);
        for target in [container, target(DriverKind::Remote, true), target(DriverKind::Docker, true)] {
            assert_eq!(short(target, &["--tag=a"], &env), "");
        }
        let warning = resolved_for(container, &[], &Env::with(&[])).unwrap().warning.unwrap();
        assert_eq!(
            warning,
            "No output specified with docker-container driver. Build result will only remain in the build cache. To \
             push result image into registry use --push or to load image into docker use --load"
        );
    }

    #[test]
    fn no_default_load_is_heeded() {
        let env = Env::with(&[("BUILDX_NO_DEFAULT_LOAD", "1")]);
        assert_eq!(resolved(&["--tag=a"], &env).unwrap().keep, Keep::InStoreOnly);
        assert_eq!(resolved(&[], &env).unwrap().warning, None);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        fs::create_dir_all(directory.path().join("work/dir")).unwrap();
        std::os::unix::fs::symlink("..", directory.path().join("work/up")).unwrap();
        let mut env = Env::with(&[]);
        env.cwd = directory.path().join("work");
        env.stdout_is_terminal = true;
        let refused = |flag: &str| resolved(&[flag], &env).unwrap_err();
        assert_eq!(refused("--push"), "tag is needed when pushing to registry");
        assert_eq!(
            refused("--output=-"),
            "dest file is required for tar exporter. refusing to write to console"
        );
        assert_eq!(refused("--output=../file"), "destination directory ../file is a file");
        assert_eq!(refused("--output=type=oci,dest=dir"), "destination file dir is a directory");
        assert!(refused("--output=type=oci,tar=false,dest=../file").ends_with("is a file"));
        assert_eq!(refused("--output=type=local,dest=x,mode=y"), "invalid local exporter mode \"y\"");
        for outside in [".", "..", "../other", "up/other", "dir/../../other"] {
            let refused = refused(&format!("--output=type=local,mode=delete,dest={outside}"));
            assert!(refused.ends_with("requires --allow=buildx.local.delete"), "{outside}: {refused}");
        }
        for inside in ["dir", "new", "new/deep", "up/work/dir"] {
            resolved(&[&format!("--output=type=local,mode=delete,dest={inside}")], &env).unwrap();
        }
    }
}
