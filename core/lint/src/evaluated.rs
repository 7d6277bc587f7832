//! A Dockerfile evaluated for each of its platforms.

use rbx_dockerfile::{Dockerfile, Evaluation, Scope, evaluate};
use rbx_platform::Platform;

use crate::facts::Facts;
use crate::lint::Request;

/// A Dockerfile evaluated for each platform that it is checked for.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The platforms, each once.
    pub platforms: Vec<Platform>,
    /// What the Dockerfile means on each, in the same order.
    pub evaluations: Vec<Evaluation>,
}

impl Evaluated {
    /// Evaluates a Dockerfile with what is known of base images.
    pub fn new(file: &Dockerfile, request: &Request, facts: &Facts) -> Self {
        let platforms = platforms_of(request);
        let evaluate = |platform| evaluate(file, &scope(request, facts, platform));
        let evaluations = platforms.iter().map(evaluate).collect();
        Self { platforms, evaluations }
    }

    /// Each platform with its evaluation.
    pub fn iter(&self) -> impl Iterator<Item = (&Platform, &Evaluation)> {
        self.platforms.iter().zip(&self.evaluations)
    }
}

/// The platforms that a Dockerfile is checked for, each once.
pub(crate) fn platforms_of(request: &Request) -> Vec<Platform> {
    let mut platforms = Vec::new();
    for platform in request.platforms.iter().map(Platform::normalized) {
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(request.build_platform.normalized());
    }
    platforms
}

/// What a Dockerfile is evaluated for.
pub(crate) fn scope<'a>(request: &'a Request, facts: &'a Facts, platform: &'a Platform) -> Scope<'a> {
    Scope {
        target_platform: platform,
        build_platform: &request.build_platform,
        build_args: &request.build_args,
        target: request.target.as_deref(),
        named_contexts: &request.named_contexts,
        bases: &facts.bases,
    }
}
