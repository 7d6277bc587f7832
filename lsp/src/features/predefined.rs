//! The variables that are there, or can be had by declaring them, without being given a value.

/// A variable with a meaning of its own.
#[derive(Debug)]
pub(crate) struct Predefined {
    pub(crate) name: &'static str,
    /// What it holds, in Markdown that reads well without rendering.
    pub(crate) text: &'static str,
    pub(crate) kind: Kind,
}

/// How a predefined variable is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Every `FROM` has it; a stage has to declare it by `ARG`.
    Automatic,
    /// Every `RUN` has it without being declared, if it is given as a build argument.
    Proxy,
    /// It has a value if it is declared and given as a build argument, and means something to the builder.
    Builder,
}

const fn automatic(name: &'static str, text: &'static str) -> Predefined {
    Predefined { name, text, kind: Kind::Automatic }
}

const fn proxy(name: &'static str) -> Predefined {
    let text = "A proxy, if it is given with `--build-arg`. `RUN` has it without an `ARG`, and then neither the \
                image nor the cache shows it.";
    Predefined { name, text, kind: Kind::Proxy }
}

const fn builder(name: &'static str, text: &'static str) -> Predefined {
    Predefined { name, text, kind: Kind::Builder }
}

/// All of them.
pub(crate) static ALL: [Predefined; 24] = [
    automatic("TARGETPLATFORM", "The platform that the image is for, such as `linux/arm/v7`."),
    automatic("TARGETOS", "The operating system that the image is for: `linux` of `linux/arm/v7`."),
    automatic("TARGETARCH", "The architecture that the image is for: `arm` of `linux/arm/v7`."),
    automatic(
        "TARGETVARIANT",
        "The variant of the architecture that the image is for: `v7` of `linux/arm/v7`. Often empty.",
    ),
    automatic(
        "TARGETOSVERSION",
        "The version of the operating system that the image is for. Empty but for Windows.",
    ),
    automatic("BUILDPLATFORM", "The platform of the machine that builds, such as `linux/amd64`."),
    automatic("BUILDOS", "The operating system of the machine that builds."),
    automatic("BUILDARCH", "The architecture of the machine that builds."),
    automatic("BUILDVARIANT", "The variant of the architecture of the machine that builds. Often empty."),
    automatic(
        "BUILDOSVERSION",
        "The version of the operating system of the machine that builds. Empty but for Windows.",
    ),
    automatic("TARGETSTAGE", "The name of the stage that is built."),
    proxy("HTTP_PROXY"),
    proxy("HTTPS_PROXY"),
    proxy("FTP_PROXY"),
    proxy("NO_PROXY"),
    proxy("ALL_PROXY"),
    proxy("http_proxy"),
    proxy("https_proxy"),
    proxy("ftp_proxy"),
    proxy("no_proxy"),
    proxy("all_proxy"),
    builder(
        "SOURCE_DATE_EPOCH",
        "Seconds since 1970 that the build takes for its time: of the image and, with `rewrite-timestamp`, of its files.",
    ),
    builder("BUILDKIT_SBOM_SCAN_CONTEXT", "Whether the build context is scanned for an SBOM, too."),
    builder(
        "BUILDKIT_SBOM_SCAN_STAGE",
        "Whether this stage is scanned for an SBOM, too: `true`, or names of stages.",
    ),
];

/// The predefined variable of that name.
pub(crate) fn predefined(name: &str) -> Option<&'static Predefined> {
    ALL.iter().find(|variable| variable.name == name)
}

/// Whether a variable has a value in every `FROM` without being declared.
pub(crate) fn is_automatic(name: &str) -> bool {
    predefined(name).is_some_and(|variable| variable.kind == Kind::Automatic)
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::platform_arguments;
    use rbx_platform::Platform;

    use super::*;

    #[test]
    fn all_platform_arguments_are_explained() {
        let host = Platform::host();
        for (name, _) in platform_arguments(&host, &host) {
            assert!(is_automatic(name), "{name}");
        }
    }
}
