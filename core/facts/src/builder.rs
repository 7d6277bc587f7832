//! What this machine runs.

use rbx_emulation::{Machine, Means};
use rbx_lint::BuilderFacts;

/// What the embedded engine runs on this machine. QEMU is looked for and handlers are tried; nothing is fetched.
pub fn this_machine(machine: &Machine) -> BuilderFacts {
    let mut facts = BuilderFacts { name: "embedded".to_owned(), ..BuilderFacts::default() };
    for platform in machine.platforms() {
        match machine.means(&platform) {
            Ok(Means::Native | Means::Compatible) => facts.native.push(platform),
            Ok(Means::Host(_) | Means::Namespace(..)) => facts.emulated.push(platform),
            Err(_) => {}
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use rbx_emulation::Settings;
    use rbx_lint::Running;

    use super::*;

    #[test]
    fn a_machine_runs_its_own_platform() {
        let machine = Machine::inspect(&Settings::default());
        let facts = this_machine(&machine);
        assert_eq!(facts.running(machine.host()), Some(Running::Natively));
    }
}
