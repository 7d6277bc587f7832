//! The same profile as OCI runtimes take it.

use serde_json::{Value, json};

use super::{AF_ALG, AF_VSOCK, CLONE_NAMESPACES, ENOSYS, EPERM, PERSONALITIES, TABLE, Verdict};

/// The profile for this CPU in the runtime specification's form.
pub(crate) fn oci_profile() -> Value {
    let architectures: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        _ => &[],
    };
    let names = |wanted: Verdict| -> Vec<&str> {
        let calls = TABLE.lines().filter_map(|line| {
            let mut cells = line.split('\t');
            Some((cells.next()?, Verdict::parse(cells.next()?)?))
        });
        calls.filter(|(_, verdict)| *verdict == wanted).map(|(name, _)| name).collect()
    };
    let rule = |verdict: Verdict, comparison: Option<Value>| {
        json!({
            "names": names(verdict),
            "action": "SCMP_ACT_ALLOW",
            "args": comparison.into_iter().collect::<Vec<_>>(),
        })
    };
    let compare = |operator: &str, value: u32| json!({ "index": 0, "value": value, "op": operator });
    let mut rules = vec![
        rule(Verdict::Allow, None),
        json!({ "names": names(Verdict::Absent), "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }),
        rule(
            Verdict::Clone,
            Some(json!({ "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" })),
        ),
    ];
    rules.extend(PERSONALITIES.map(|value| rule(Verdict::Personality, Some(compare("SCMP_CMP_EQ", value)))));
    // All but two: the library takes one comparison of an argument for each rule.
    rules.extend(
        [("SCMP_CMP_LT", AF_ALG), ("SCMP_CMP_EQ", AF_ALG + 1), ("SCMP_CMP_GT", AF_VSOCK)]
            .map(|(operator, family)| rule(Verdict::Socket, Some(compare(operator, family)))),
    );
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures,
        "syscalls": rules,
    })
}
