//! Which node builds which platform.
//!
//! Followed: buildx. The platforms that nodes were told to have decide if they fit exactly; else what their workers
//! say decides, too, for which all nodes have to be there. A platform that nobody has is the first node's.

use rbx_platform::Platform;

/// What one node builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The node, by its place.
    pub node: usize,
    /// Its platforms, in the order in which they were asked for; none if none were asked for.
    pub platforms: Vec<Platform>,
}

/// The nodes that build the `wanted` platforms, if what nodes were told to have (`fixed`, one list for each) says
/// enough: if not, all nodes have to be asked for their workers.
pub fn resolve_fixed(fixed: &[Vec<Platform>], wanted: &[Platform]) -> Option<Vec<Assignment>> {
    let nodes = wanted.iter().map(|platform| node_for(fixed, platform, |node| vec![node.normalized()]));
    Some(assign(&nodes.collect::<Option<Vec<usize>>>()?, wanted))
}

/// The nodes that build the `wanted` platforms, where `offered` is what each was told to have, followed by what its
/// workers say. The second list has those platforms that no node says to have: they are the first node's.
pub fn resolve(offered: &[Vec<Platform>], wanted: &[Platform]) -> (Vec<Assignment>, Vec<Platform>) {
    let nodes: Vec<Option<usize>> =
        wanted.iter().map(|platform| node_for(offered, platform, Platform::accepted)).collect();
    let missing = wanted.iter().zip(&nodes).filter(|(_, node)| node.is_none());
    let missing = missing.map(|(platform, _)| platform.clone()).collect();
    let nodes: Vec<usize> = nodes.into_iter().map(Option::unwrap_or_default).collect();
    (assign(&nodes, wanted), missing)
}

/// The node that suits a platform best, of equal ones the first. `accepts` lists what a node of a platform builds, the
/// best first.
fn node_for(
    offered: &[Vec<Platform>],
    wanted: &Platform,
    accepts: impl Fn(&Platform) -> Vec<Platform>,
) -> Option<usize> {
    let mut best: Option<(usize, &Platform)> = None;
    for (node, platforms) in offered.iter().enumerate() {
        for platform in platforms {
            let accepted = accepts(platform);
            let rank = |other: &Platform| accepted.iter().position(|accepted| accepted.matches(other));
            let Some(of_wanted) = rank(wanted) else { continue };
            // A node is better if it would rather build this than be the one that was best so far.
            if best.is_none_or(|(_, best)| rank(best).is_none_or(|of_best| of_wanted < of_best)) {
                best = Some((node, platform));
            }
        }
    }
    best.map(|(node, _)| node)
}

/// Platforms of one node are built together.
fn assign(nodes: &[usize], wanted: &[Platform]) -> Vec<Assignment> {
    let mut assignments: Vec<Assignment> = Vec::new();
    for (&node, platform) in nodes.iter().zip(wanted) {
        match assignments.iter_mut().find(|assignment| assignment.node == node) {
            Some(assignment) => assignment.platforms.push(platform.clone()),
            None => assignments.push(Assignment { node, platforms: vec![platform.clone()] }),
        }
    }
    if assignments.is_empty() {
        assignments.push(Assignment { node: 0, platforms: Vec::new() });
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(names: &str) -> Vec<Platform> {
        names.split_whitespace().map(|name| Platform::parse(name).unwrap()).collect()
    }

    fn nodes(names: &[&str]) -> Vec<Vec<Platform>> {
        names.iter().map(|names| platforms(names)).collect()
    }

    /// `0: linux/amd64, …; 1: …`
    fn shown(assignments: &[Assignment]) -> String {
        let one = |assignment: &Assignment| {
            let names: Vec<String> = assignment.platforms.iter().map(ToString::to_string).collect();
            format!("{}:{}", assignment.node, names.join(","))
        };
        assignments.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn of_fixed(fixed: &[&str], wanted: &str) -> Option<String> {
        resolve_fixed(&nodes(fixed), &platforms(wanted)).map(|assignments| shown(&assignments))
    }

    fn of_all(offered: &[&str], wanted: &str) -> String {
        let (assignments, missing) = resolve(&nodes(offered), &platforms(wanted));
        let missing: Vec<String> = missing.iter().map(|it| format!("-{it}")).collect();
        [vec![shown(&assignments)], missing].concat().join(" ")
    }

    #[test]
    fn what_nodes_were_told_to_have_decides_if_it_fits_exactly() {
        for (fixed, wanted, answer) in [
            (&["", ""][..], "", Some("0:")),
            (&["linux/amd64", "linux/arm64"], "linux/arm64", Some("1:linux/arm64")),
            (&["linux/amd64", "linux/arm64"], "linux/arm64 linux/amd64", Some("1:linux/arm64 0:linux/amd64")),
            (&["linux/amd64 linux/arm64", ""], "linux/amd64 linux/arm64", Some("0:linux/amd64,linux/arm64")),
            (&["", "linux/arm64/v8"], "linux/arm64", Some("1:linux/arm64")),
            (&["linux/arm64", "linux/arm64"], "linux/arm64", Some("0:linux/arm64")),
            // A machine that also runs it is not told to have it.
            (&["linux/amd64"], "linux/386", None),
            (&["linux/arm/v7"], "linux/arm/v6", None),
            (&["linux/amd64", ""], "linux/amd64 linux/arm64", None),
        ] {
            assert_eq!(of_fixed(fixed, wanted).as_deref(), answer, "{fixed:?} {wanted}");
        }
    }

    #[test]
    fn what_workers_say_decides_otherwise() {
        for (offered, wanted, answer) in [
            (&["linux/amd64"][..], "", "0:"),
            (&["linux/amd64"], "linux/386", "0:linux/386"),
            (&["linux/amd64", "linux/386"], "linux/386", "1:linux/386"),
            (&["linux/arm64", "linux/arm/v7"], "linux/arm/v6", "1:linux/arm/v6"),
            (&["linux/arm/v7", "linux/arm64"], "linux/arm/v6", "0:linux/arm/v6"),
            (&["linux/amd64", "linux/arm64"], "linux/arm/v7 linux/arm64", "1:linux/arm/v7,linux/arm64"),
            // What nobody has is the first node's.
            (
                &["linux/amd64", "linux/arm64"],
                "linux/s390x linux/arm64",
                "0:linux/s390x 1:linux/arm64 -linux/s390x",
            ),
            (&[""], "linux/amd64", "0:linux/amd64 -linux/amd64"),
        ] {
            assert_eq!(of_all(offered, wanted), answer, "{offered:?} {wanted}");
        }
    }
}
