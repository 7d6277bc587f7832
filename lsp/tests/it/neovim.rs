//! The server in a real editor.

use std::path::Path;
use std::process::Command;

/// Runs the Neovim plugin's own test with this server. `RBX_TEST_NVIM` names another Neovim than the one on the
/// `PATH`.
#[test]
fn neovim_shows_findings_outline_and_explanations() {
    let nvim = std::env::var("RBX_TEST_NVIM").unwrap_or_else(|_| "nvim".to_owned());
    if Command::new(&nvim).arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "{nvim} is missing: run `cargo xtask setup`");
        println!("skipped: there is no {nvim}");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../editors/neovim/test/run.sh");
    let run = Command::new("sh")
        .arg(script)
        .args(["language", &nvim, env!("CARGO_BIN_EXE_rbx-lsp")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("ok: Neovim"), "{said}");
}
