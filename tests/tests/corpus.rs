//! Every case of the corpus as a test of its own.

use libtest_mimic::{Arguments, Failed, Trial};
use rbx_tests::corpus::Case;

fn main() {
    let arguments = Arguments::from_args();
    let trials = Case::all()
        .into_iter()
        .map(|case| Trial::test(case.name.clone(), move || case.check().map_err(Failed::from)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
