//! `hardcoded-arch-url` and `arch-spelling`: addresses of files that are for one architecture.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

use rbx_dockerfile::{Body, Keyword, Span, Word};
use rbx_platform::Platform;

use super::RULE;
use super::address::{Address, Assigned, Expanded, addresses, assigned};
use super::packages::PACKAGES;
use super::site::{
    Piece, Site, asks_itself, is_about_platforms, is_for, names_its_own, pieces, sites, variables,
};
use crate::arch::{self, Hit, Style};
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "hardcoded-arch-url",
        severity: Severity::Info,
        summary: "A file is fetched that is for another architecture",
        explanation: include_str!("../../../rules/platform/hardcoded-arch-url.md"),
        check: Check::EachPlatform(hardcoded),
        ..RULE
    },
    Rule {
        name: "arch-spelling",
        severity: Severity::Info,
        summary: "A file is fetched under another spelling of the architecture than it has",
        explanation: include_str!("../../../rules/platform/arch-spelling.md"),
        check: Check::EachPlatform(misspelled),
        ..RULE
    },
];

/// Parts of addresses of what is not meant for the platform, or for every one.
const ELSEWHERE: [&str; 18] = [
    "-elf", "android", "apple", "darwin", "freebsd", "macos", "mingw", "msvc", "osx", "qemu", "windows",
    "win32", "win64", ".diff", ".exe", ".git", ".msi", ".patch",
];

fn hardcoded(view: &View<'_>) -> Vec<Found> {
    if !view.file.text.contains("://") {
        return Vec::new();
    }
    let mut all = Vec::new();
    let uses = Uses::new(view);
    for site in sites(view).filter(|site| site.stage.platform.os == "linux") {
        match &site.instruction.body {
            Body::Run(_) | Body::Add(_) => all.extend(fetched(view, &site)),
            Body::Env(pairs) => {
                all.extend(
                    pairs.iter().filter_map(|pair| kept(view, &site, &uses, &pair.name.text, &pair.value)),
                );
            }
            Body::Arg(args) => all.extend(args.iter().filter_map(|arg| {
                let given = view.request.build_args.contains_key(&arg.name.text);
                kept(view, &site, &uses, &arg.name.text, arg.value.as_ref().filter(|_| !given)?)
            })),
            _ => {}
        }
    }
    all
}

/// The spelling in an address that is wrong for a platform.
fn wrong(platform: &Platform, text: &str, path: usize) -> Option<Hit> {
    let rest = text.get(path..)?;
    let lower = rest.to_ascii_lowercase();
    if ELSEWHERE.iter().any(|part| lower.contains(part)) || PACKAGES.iter().any(|end| lower.contains(end)) {
        return None;
    }
    let mut hits = arch::find(rest);
    if hits.iter().any(|hit| hit.arch.runs_on(platform)) {
        return None;
    }
    let Hit { range, arch } = hits.pop()?;
    Some(Hit { range: range.start + path..range.end + path, arch })
}

/// What a `RUN` or `ADD` fetches.
fn fetched(view: &View<'_>, site: &Site<'_>) -> Vec<Found> {
    let pieces = site.pieces(view.file);
    let addresses: Vec<Address<'_>> = pieces.iter().flat_map(|piece| addresses(*piece)).collect();
    if addresses.is_empty() {
        return Vec::new();
    }
    let set = assigned(&pieces);
    let mut all = Vec::new();
    for address in addresses {
        let expanded = address.expand(site, &set);
        if expanded.depends || !expanded.asked.is_empty() {
            continue;
        }
        let Some(hit) = wrong(&site.stage.platform, &expanded.text, expanded.path()) else { continue };
        if is_for(view, site.stage, hit.arch) {
            continue;
        }
        let (range, literal) = expanded.source(&hit.range);
        let mut found = Found::new(address.piece.span(&address.range), message(&expanded.text, &hit));
        if literal && !set_elsewhere(&set, &address) {
            let spelled = &expanded.text[hit.range.clone()];
            found.fixes.extend(replaced(view, site, address.piece, &range, spelled, &expanded.text));
        }
        all.push(found);
        if all.len() == MAX_FOUND {
            break;
        }
    }
    // What is asked somewhere in it, or done for several architectures, is done on purpose.
    if !all.is_empty() && (asks_itself(view.file, site.instruction) || names_its_own(view, site)) {
        all.clear();
    }
    all
}

/// Whether the address is only what a variable is set to, which may be changed afterwards.
fn set_elsewhere(set: &Assigned, address: &Address<'_>) -> bool {
    let before = address.piece.text[..address.range.start].trim_end_matches(['"', '\'']);
    before.strip_suffix('=').is_some_and(|before| {
        let name = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        set.contains_key(&before[name.len()..])
    })
}

fn message(address: &str, hit: &Hit) -> String {
    let file = address.rsplit('/').find(|part| !part.is_empty()).unwrap_or(address);
    let file = if arch::find(file).is_empty() { address } else { file };
    format!("{} is for {}", shown(&file.replace(['\n', '\u{fffc}'], "…")), hit.arch.name())
}

/// Where variables are used.
struct Uses<'a> {
    /// By name, where the last use begins, and the last one by an instruction that asks for the architecture.
    last: HashMap<&'a str, (u32, Option<u32>)>,
}

impl<'a> Uses<'a> {
    fn new(view: &View<'a>) -> Self {
        let mut last: HashMap<&str, (u32, Option<u32>)> = HashMap::new();
        for instruction in &view.file.instructions {
            let mut asked = None;
            for piece in pieces(view.file, instruction) {
                for name in variables(piece.text) {
                    let at = instruction.span.start;
                    let asks = *asked.get_or_insert_with(|| asks_itself(view.file, instruction));
                    let known = last.entry(name).or_default();
                    known.0 = at;
                    known.1 = if asks { Some(at) } else { known.1 };
                }
            }
        }
        Self { last }
    }

    /// Whether a variable is used after a place, and nothing that uses it asks for the architecture.
    fn is_used_blindly(&self, name: &str, after: u32) -> bool {
        self.last
            .get(name)
            .is_some_and(|(last, asked)| *last > after && asked.is_none_or(|asked| asked < after))
    }
}

/// Addresses of an instruction that are reported, at most.
const MAX_FOUND: usize = 20;

/// An address that a variable holds for a later instruction.
fn kept(view: &View<'_>, site: &Site<'_>, uses: &Uses<'_>, name: &str, value: &Word) -> Option<Found> {
    if !value.text.contains("://") || !arch::find(name).is_empty() {
        return None;
    }
    let start = value.text.find("://")? + 3;
    let path = value.text[start..].find('/').map_or(value.text.len(), |at| start + at);
    let hit = wrong(&site.stage.platform, &value.text, path)?;
    // With variables in it, it may be put together for each architecture.
    let depends = variables(&value.text).any(is_about_platforms);
    if depends
        || is_for(view, site.stage, hit.arch)
        || !uses.is_used_blindly(name, site.instruction.span.start)
    {
        return None;
    }
    Some(Found::new(value.span, message(&value.text, &hit)))
}

/// Puts the architecture of the platform in the place of a spelling, or of a question for it.
fn replaced(
    view: &View<'_>,
    site: &Site<'_>,
    piece: Piece<'_>,
    range: &Range<usize>,
    spelled: &str,
    address: &str,
) -> Option<Fix> {
    let style = project(address).or_else(|| Style::of(spelled))?;
    let is_run = site.instruction.keyword == Keyword::Run;
    if is_run && (!site.is_shell() || piece.is_quoted(range.start)) {
        return None;
    }
    mapped(view, site, piece.span(range), style)
}

/// An expression for the architecture of the platform in a spelling.
fn mapped(view: &View<'_>, site: &Site<'_>, span: Span, style: Style) -> Option<Fix> {
    let same = |platform: &Platform| style.spell(platform) == Style::Docker.spell(platform);
    let is_arm = |platform: &Platform| platform.architecture == "arm";
    let platforms = &view.request.platforms;
    let (text, names, title) = if platforms.iter().all(same) && !platforms.iter().any(is_arm) {
        ("${TARGETARCH}".to_owned(), &["TARGETARCH"][..], "Take the architecture from TARGETARCH".to_owned())
    } else if site.instruction.keyword != Keyword::Run {
        return None;
    } else {
        let arms = platforms.iter().any(is_arm);
        let (names, word) = if arms {
            (&["TARGETARCH", "TARGETVARIANT"][..], "\"$TARGETARCH$TARGETVARIANT\"")
        } else {
            (&["TARGETARCH"][..], "\"$TARGETARCH\"")
        };
        let mut text = format!("$(case {word} in");
        let mut spellings: Vec<&str> = Vec::new();
        for platform in platforms {
            let platform = platform.normalized();
            let spelled = style.spell(&platform)?;
            let variant = platform.variant.as_deref().filter(|_| arms).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = write!(text, " ({}{variant}) echo {spelled} ;;", platform.architecture);
            if !spellings.contains(&spelled) {
                spellings.push(spelled);
            }
        }
        text.push_str(" esac)");
        (text, names, format!("Map TARGETARCH to {}", spellings.join(", ")))
    };
    let mut edits: Vec<Edit> = site.declare(view, names).into_iter().collect();
    edits.push(Edit { span, text });
    Some(Fix { title, safe: false, edits })
}

/// How projects spell architectures in the names of what they release. Only what stays the same over the years.
const PROJECTS: [(&str, Style); 40] = [
    ("//awscli.amazonaws.com/", Style::Kernel),
    ("//dl.google.com/go/", Style::Docker),
    ("//dl.k8s.io/", Style::Docker),
    ("//download.docker.com/linux/static/", Style::Kernel),
    ("//get.helm.sh/", Style::Docker),
    ("//go.dev/dl/", Style::Docker),
    ("//golang.org/dl/", Style::Docker),
    ("//nodejs.org/dist/", Style::Node),
    ("//releases.hashicorp.com/", Style::Docker),
    ("//repo.anaconda.com/miniconda/", Style::Kernel),
    ("//static.rust-lang.org/", Style::Kernel),
    ("//storage.googleapis.com/golang/", Style::Docker),
    ("//storage.googleapis.com/kubernetes-release/", Style::Docker),
    ("//github.com/BurntSushi/ripgrep/", Style::Kernel),
    ("//github.com/FiloSottile/mkcert/", Style::Docker),
    ("//github.com/Kitware/CMake/", Style::Kernel),
    ("//github.com/aptible/supercronic/", Style::Docker),
    ("//github.com/argoproj/", Style::Docker),
    ("//github.com/astral-sh/uv/", Style::Kernel),
    ("//github.com/bazelbuild/bazelisk/", Style::Docker),
    ("//github.com/caddyserver/caddy/", Style::Docker),
    ("//github.com/cli/cli/", Style::Docker),
    ("//github.com/conda-forge/miniforge/", Style::Kernel),
    ("//github.com/containerd/", Style::Docker),
    ("//github.com/containernetworking/plugins/", Style::Docker),
    ("//github.com/docker/buildx/", Style::Docker),
    ("//github.com/docker/compose/releases/download/v", Style::Kernel),
    ("//github.com/etcd-io/etcd/", Style::Docker),
    ("//github.com/golangci/golangci-lint/", Style::Docker),
    ("//github.com/grpc-ecosystem/grpc-health-probe/", Style::Docker),
    ("//github.com/hadolint/hadolint/", Style::Mixed),
    ("//github.com/jwilder/dockerize/", Style::Docker),
    ("//github.com/just-containers/s6-overlay/releases/download/v3", Style::Kernel),
    ("//github.com/krallin/tini/", Style::Debian),
    ("//github.com/kubernetes-sigs/", Style::Docker),
    ("//github.com/mikefarah/yq/", Style::Docker),
    ("//github.com/prometheus/", Style::Docker),
    ("//github.com/protocolbuffers/protobuf/", Style::Protobuf),
    ("//github.com/sharkdp/", Style::Kernel),
    ("//github.com/tianon/gosu/", Style::Debian),
];

fn project(address: &str) -> Option<Style> {
    PROJECTS.iter().find(|(part, _)| address.contains(part)).map(|(_, style)| *style)
}

/// The architectures on which the spellings of [`PROJECTS`] can be relied.
fn is_common(platform: &Platform) -> bool {
    matches!(platform.architecture.as_str(), "amd64" | "arm64")
}

fn misspelled(view: &View<'_>) -> Vec<Found> {
    if !view.file.text.contains("://") || !is_common(view.platform) {
        return Vec::new();
    }
    let mut learned: Option<HashMap<String, Style>> = None;
    let mut all = Vec::new();
    for site in sites(view) {
        let (Keyword::Run | Keyword::Add) = site.instruction.keyword else { continue };
        let pieces = site.pieces(view.file);
        let addresses: Vec<Address<'_>> = pieces.iter().flat_map(|piece| addresses(*piece)).collect();
        if addresses.is_empty() {
            continue;
        }
        let set = assigned(&pieces);
        for address in addresses.into_iter().take(MAX_FOUND) {
            let expanded = address.expand(&site, &set);
            let [(asked, place)] = expanded.asked.as_slice() else { continue };
            // What the stage itself is asked for is right for the stage; another rule knows where that is wrong.
            let platform = if *asked == Style::Docker { view.platform } else { &site.stage.platform };
            // A question for another spelling may be answered in one branch, and this address be for the other.
            let is_branch = ["case ", "if "].iter().any(|word| address.piece.text.contains(word));
            if expanded.depends || is_branch || !arch::find(&expanded.text[expanded.path()..]).is_empty() {
                continue;
            }
            let style = project(&expanded.text).or_else(|| {
                let learned = learned.get_or_insert_with(|| literal(view));
                let release = release(&expanded)?;
                learned.get(&release).copied()
            });
            let Some(style) = style else { continue };
            if asked.spell(platform) == style.spell(platform) {
                continue;
            }
            let written = shown(&address.piece.text[place.clone()]);
            let both = |style: Style| format!("{} and {}", style.names()[0], style.names()[2]);
            let (is, wanted) = (both(*asked), both(style));
            let message = format!("{written} gives {is}, where the names of these files have {wanted}");
            let mut found = Found::new(address.piece.span(&address.range), message);
            if site.instruction.keyword == Keyword::Run
                && site.is_shell()
                && !address.piece.is_quoted(place.start)
            {
                found.fixes.extend(mapped(view, &site, address.piece.span(place), style));
            }
            all.push(found);
        }
    }
    all
}

/// The repository of a forge that an address is of.
fn release(expanded: &Expanded) -> Option<String> {
    let start = expanded.text.find("://")? + 3;
    let whole = expanded.text.get(start..expanded.path())?;
    (whole.matches('/').count() == 2 && !whole.contains('\u{fffc}')).then(|| whole.to_owned())
}

/// How the file's own addresses spell architectures, by repository.
fn literal(view: &View<'_>) -> HashMap<String, Style> {
    let mut all = HashMap::new();
    for site in sites(view) {
        let set = Assigned::new();
        for address in site.pieces(view.file).into_iter().flat_map(addresses) {
            let expanded = address.expand(&site, &set);
            let path = &expanded.text[expanded.path()..];
            if let (Some(release), [hit]) = (release(&expanded), arch::find(path).as_slice())
                && let Some(style) = Style::of(&path[hit.range.clone()])
            {
                all.insert(release, style);
            }
        }
    }
    all
}
