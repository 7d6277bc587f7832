//! Asking every rule about every platform.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rbx_dockerfile::{Diagnostic, Dockerfile, Span, outline};
use rbx_platform::Platform;

use crate::evaluated::{Evaluated, scope};
use crate::facts::Facts;
use crate::finding::{Edit, Finding, Fix, Severity};
use crate::rule::{Check, Rule, rules};
use crate::rules::buildkit::{self, ByRule, Stages};
use crate::settings::Settings;
use crate::shell::Scripts;
use crate::shellcheck;
use crate::silence::{ARGUMENT, Silence};
use crate::view::{Found, View, in_play, other_platforms, users};

/// What a Dockerfile is checked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The platforms it is built for. None is the build's own.
    pub platforms: Vec<Platform>,
    /// The platform of the machine that builds.
    pub build_platform: Platform,
    /// `--build-arg`
    pub build_args: BTreeMap<String, String>,
    /// `--target`. `None` is the last stage, and stages that no other needs are looked at, too.
    pub target: Option<String>,
    /// Names of `--build-context`.
    pub named_contexts: BTreeSet<String>,
    /// Which rules are asked, and how.
    pub settings: Settings,
}

impl Request {
    /// For these platforms, with nothing else given.
    pub fn new(platforms: Vec<Platform>, build_platform: Platform) -> Self {
        Self {
            platforms,
            build_platform,
            build_args: BTreeMap::new(),
            target: None,
            named_contexts: BTreeSet::new(),
            settings: Settings::default(),
        }
    }
}

/// Everything that is wrong with a Dockerfile, in order of the text. What comments silence is left out.
pub fn lint(file: &Dockerfile, request: &Request, facts: &Facts) -> Vec<Finding> {
    let evaluated = Evaluated::new(file, request, facts);
    lint_evaluated(file, request, facts, &evaluated, || false).unwrap_or_default()
}

/// The same for a Dockerfile that was evaluated before, with the same request and the same facts about bases. Nothing,
/// as soon as `stop` says that nobody wants to know any more.
pub fn lint_evaluated(
    file: &Dockerfile,
    request: &Request,
    facts: &Facts,
    evaluated: &Evaluated,
    stop: impl Fn() -> bool,
) -> Option<Vec<Finding>> {
    let Evaluated { platforms, evaluations } = evaluated;
    let others = other_platforms(file, platforms);
    let outlines: Vec<_> = platforms
        .iter()
        .chain(&others)
        .map(|platform| outline(file, &scope(request, facts, platform)))
        .collect();
    let in_play = in_play(&outlines, platforms.len(), request.target.is_some());
    let users = users(&outlines);
    let argument = request.build_args.get(ARGUMENT).map(String::as_str);
    let silence = Silence::new(file, argument, &request.settings);
    let scripts = Scripts::new(file);
    let raised = |severity: Severity| {
        if silence.errors && severity <= Severity::Warning { Severity::Error } else { severity }
    };
    let severity = |rule: &Rule| {
        let asked = || silence.asks(rule) && !request.settings.levels.contains_key(rule.name);
        let severity = request.settings.severity(rule).or_else(|| asked().then_some(rule.severity))?;
        Some(raised(severity)).filter(|severity| request.settings.wants(*severity))
    };
    let asked: Vec<(&'static Rule, Severity)> =
        rules().iter().filter_map(|rule| Some((*rule, severity(rule)?))).collect();

    let mut all = Findings { platforms, list: Vec::new(), known: HashMap::new() };
    for diagnostic in &file.diagnostics {
        all.add(None, severity_of(diagnostic), platforms, &found(file, diagnostic));
    }
    if let Some(invalid) = &silence.invalid {
        let found = Found::new(invalid.span.unwrap_or_default(), invalid.message.clone());
        all.add(None, Severity::Error, platforms, &found);
    }
    let take = |all: &mut Findings<'_>, rule: &'static Rule, severity, on: &[Platform], found: &Found| {
        if !silence.covers_by(file, rule, found.span, found.comments) {
            let is_set = silence.errors || request.settings.sets_severity(rule);
            all.add(Some(rule), found.severity.filter(|_| !is_set).unwrap_or(severity), on, found);
        }
    };
    for (number, ((platform, evaluation), in_play)) in evaluated.iter().zip(&in_play).enumerate() {
        let this = std::slice::from_ref(platform);
        for diagnostic in &evaluation.diagnostics {
            all.add(None, severity_of(diagnostic), this, &found(file, diagnostic));
        }
        let view = View::new(
            (file, request, facts),
            (platform, evaluation),
            evaluations,
            in_play,
            (&outlines, &users),
            &silence,
            &scripts,
        );
        let stages = if request.target.is_some() { Stages::These(in_play) } else { Stages::All };
        let (mut in_text, mut in_evaluation) = (ByRule::new(), ByRule::new());
        if asked.iter().any(|(rule, _)| matches!(rule.check, Check::BuildKit)) {
            let checked = buildkit::Checked::of(&view, stages);
            in_evaluation = buildkit::found_in_evaluation(&checked);
            if number == 0 {
                in_text = buildkit::found_in_text(&checked);
            }
        }
        for (rule, severity) in &asked {
            if stop() {
                return None;
            }
            for found in in_text.remove(rule.name).unwrap_or_default() {
                take(&mut all, rule, *severity, platforms, &found);
            }
            let (found, on) = match rule.check {
                Check::Once(check) if number == 0 => (check(&view), &platforms[..]),
                Check::Once(_) => continue,
                Check::EachPlatform(check) => (check(&view), this),
                Check::BuildKit => (in_evaluation.remove(rule.name).unwrap_or_default(), this),
            };
            for found in &found {
                take(&mut all, rule, *severity, on, found);
            }
        }
        if number == 0 {
            for (rule, found) in shellcheck::found(&view) {
                if let Some(severity) = request.settings.severity(rule) {
                    take(&mut all, rule, raised(severity), platforms, &found);
                }
            }
        }
    }
    all.explain();
    all.list.retain(|finding| request.settings.wants(finding.severity));
    Some(all.finish())
}

/// What the language finds wrong, with the word that it proposes as a remedy if it is for all that stands there.
fn found(file: &Dockerfile, diagnostic: &Diagnostic) -> Found {
    let mut found = Found::new(diagnostic.span, diagnostic.to_string());
    let wrong = diagnostic.span.slice(&file.text);
    let is_word = !wrong.is_empty() && wrong.chars().all(|c| c.is_alphanumeric() || c == '-');
    let proposed = diagnostic.replacement.as_ref().filter(|_| is_word && diagnostic.message.ends_with(wrong));
    found.fixes.extend(proposed.map(|word| Fix {
        title: format!("Replace {wrong} with {word}"),
        safe: false,
        edits: vec![Edit { span: diagnostic.span, text: word.clone() }],
    }));
    found
}

fn severity_of(diagnostic: &Diagnostic) -> Severity {
    match diagnostic.severity {
        rbx_dockerfile::Severity::Error => Severity::Error,
        rbx_dockerfile::Severity::Warning => Severity::Warning,
    }
}

/// Findings, equal ones of several platforms being one.
struct Findings<'a> {
    platforms: &'a [Platform],
    list: Vec<Finding>,
    /// Where in the list a finding is.
    known: HashMap<(&'static str, Span, String), usize>,
}

impl Findings<'_> {
    /// Adds what is true on these platforms.
    fn add(&mut self, rule: Option<&'static Rule>, severity: Severity, on: &[Platform], found: &Found) {
        let name = rule.map_or("", |rule| rule.name);
        let index = *self.known.entry((name, found.span, found.message.clone())).or_insert(self.list.len());
        if let Some(known) = self.list.get_mut(index) {
            for platform in on {
                if !known.platforms.contains(platform) {
                    known.platforms.push(platform.clone());
                }
            }
            known.severity = known.severity.min(severity);
            return;
        }
        self.list.push(Finding {
            rule,
            severity,
            message: found.message.clone(),
            span: found.span,
            related: found.related.clone(),
            platforms: on.to_vec(),
            fine_on: Vec::new(),
            fixes: found.fixes.clone(),
        });
    }

    /// Where a rule has an error of the language, it says more about it.
    fn explain(&mut self) {
        let explained: HashSet<Span> = self
            .list
            .iter()
            .filter(|finding| finding.rule.is_some() && finding.severity == Severity::Error)
            .map(|finding| finding.span)
            .collect();
        self.list.retain(|finding| finding.rule.is_some() || !explained.contains(&finding.span));
    }

    fn finish(mut self) -> Vec<Finding> {
        for finding in &mut self.list {
            let fine = self.platforms.iter().filter(|platform| !finding.platforms.contains(platform));
            finding.fine_on = fine.cloned().collect();
        }
        // Stable: at one place, what the language finds wrong comes before what rules find.
        self.list.sort_by_key(|finding| finding.span.start);
        self.list
    }
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::parse;

    use super::*;
    use crate::finding::apply;

    /// A text after the first remedy for each finding of the language.
    fn mended(text: &str) -> String {
        let host = Platform::host();
        let findings = lint(&parse(text), &Request::new(vec![host.clone()], host), &Facts::default());
        let edits: Vec<Edit> = findings
            .into_iter()
            .filter(|finding| finding.rule.is_none())
            .filter_map(|finding| finding.fixes.into_iter().next())
            .flat_map(|fix| fix.edits)
            .collect();
        apply(text, &edits)
    }

    #[test]
    fn what_cannot_be_a_secret_is_no_warning() {
        let text = "FROM scratch\nENV TOKEN=abc KEY= API_KEY='' GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D \\\n\
                    SIGN_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D GPG_TOKEN=abc\nENV SECRET \\\n b\n\
                    ARG PASSWORD=\nENV AUTH=$PASSWORD\n";
        let host = Platform::host();
        let mut request = Request::new(vec![host.clone()], host);
        let mut found = |threshold| {
            request.settings.threshold = threshold;
            let findings = lint(&parse(text), &request, &Facts::default());
            let names = findings.iter().filter(|finding| finding.name() == "SecretsUsedInArgOrEnv");
            names.map(|finding| finding.span.slice(text)).collect::<Vec<_>>()
        };
        let secrets = ["TOKEN", "SIGN_KEY", "GPG_TOKEN", "SECRET", "PASSWORD", "AUTH"];
        assert_eq!(found(Some(Severity::Warning)), secrets);
        assert_eq!(found(Some(Severity::Info)).len(), secrets.len() + 3);
    }

    #[test]
    fn words_that_are_proposed_replace_what_is_wrong_and_nothing_else() {
        assert_eq!(
            mended("FORM a\nRUN --netwrk=host b\nCOPPY c d\n"),
            "FROM a\nRUN --network=host b\nCOPY c d\n"
        );
        // There is a proposal, but for a part of what stands there.
        for text in
            ["ARG PLATFORM\nFROM --platform=$PLATFROM a\n", "FROM a\nRUN --mount=type=cahce,target=/b c\n"]
        {
            assert_eq!(mended(text), text);
        }
    }
}
