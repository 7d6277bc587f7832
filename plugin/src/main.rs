//! docker-rbx: builds container images from the command line.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use clap::Parser;
use rbx_engine::{Cancel, Config, Engine};
use rbx_request::{BuildRequest, ContextSource, DockerfileSource, NoCache, Output, OutputEntry, events};

#[derive(Parser)]
struct Args {
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[arg(short, long)]
    tag: Vec<String>,
    #[arg(short, long)]
    output: Vec<String>,
    #[arg(long)]
    build_arg: Vec<String>,
    #[arg(long)]
    label: Vec<String>,
    #[arg(long)]
    build_context: Vec<String>,
    #[arg(long)]
    target: Option<String>,
    #[arg(long)]
    platform: Vec<String>,
    #[arg(long)]
    no_cache: bool,
    #[arg(long)]
    pull: bool,
    #[arg(long)]
    provenance: Option<String>,
    #[arg(long)]
    network: Option<String>,
    #[arg(long)]
    progress: Option<String>,
    #[arg(long)]
    builder: Option<String>,
    #[arg(long)]
    metadata_file: Option<PathBuf>,
    #[arg(long)]
    iidfile: Option<PathBuf>,
    path: PathBuf,
}

fn main() {
    rbx_sandbox::enter();
    let mut argv: Vec<String> = std::env::args().collect();
    argv.retain(|a| a != "build" && a != "rbx");
    let args = Args::parse_from(argv);
    let cwd = std::env::current_dir().expect("cwd");
    let entries: Vec<OutputEntry> = args.output.iter().map(|o| OutputEntry::parse(o).expect("output")).collect();
    let context = cwd.join(&args.path);
    let env = |name: &str| std::env::var(name).ok();
    let request = BuildRequest {
        dockerfile: DockerfileSource::Path(args.file.map_or(context.join("Dockerfile"), |f| cwd.join(f))),
        context: ContextSource::Directory(context),
        tags: args.tag.iter().map(|t| rbx_oci::Reference::parse(t).expect("tag")).collect(),
        outputs: Output::resolve_all(&entries, &cwd).expect("outputs"),
        build_args: args.build_arg.iter().filter_map(|a| a.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect(),
        labels: args.label.iter().filter_map(|a| a.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect(),
        named_contexts: rbx_request::parse_contexts(&args.build_context).expect("contexts"),
        target: args.target,
        platforms: rbx_request::parse_platforms(&args.platform, &rbx_platform::Platform::host()).expect("platforms"),
        no_cache: if args.no_cache { NoCache::All } else { NoCache::Use },
        pull: args.pull,
        ..BuildRequest::default()
    };
    let root = env("RBX_ROOT").map_or_else(|| PathBuf::from("/root/.local/share/rbx"), PathBuf::from);
    let credentials = rbx_registry::Credentials::default();
    let registry = rbx_registry::Config { credentials: Arc::new(credentials), ..rbx_registry::Config::default() };
    let engine = Engine::open(Config { root, registry, threads: 2 }).expect("engine");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let code = runtime.block_on(async {
        let (sender, receiver) = events();
        let display = tokio::spawn(async move {
            let mut out = std::io::stderr();
            let options = rbx_progress::Options { header: Some("building with \"embedded\" instance using embedded driver".into()), ..rbx_progress::Options::default() };
            rbx_progress::display(rbx_progress::Mode::Plain, receiver, &mut out, &options).await
        });
        let stdout: rbx_engine::Stdout = Arc::new(Mutex::new(std::io::stdout()));
        let outcome = engine.build(&request, &sender, &Cancel::default(), &stdout).await;
        drop(sender);
        let _ = display.await;
        match outcome {
            Ok(_) => 0,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "ERROR: failed to build: {error}\n{:?}", error.hint);
                1
            }
        }
    });
    #[expect(clippy::exit, reason = "the end")]
    std::process::exit(code);
}
