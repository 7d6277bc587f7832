//! Entries of `binfmt_misc`, and programs that may be QEMU.

use rbx_emulation::{Architecture, Handler, Pattern, fuzz};

/// The same bytes as the text of an entry, as a program, and as the start of a program that an entry may match.
pub(crate) fn run(data: &[u8]) {
    for architecture in Architecture::all() {
        let _ = fuzz::is_static(data, architecture);
    }
    let Ok(handler) = Handler::parse("name", data) else { return };
    handler.matches(data);
    let serves = Architecture::all().filter(|architecture| handler.serves(*architecture)).count();
    let Pattern::Magic { offset, magic, mask } = &handler.pattern else {
        assert_eq!(serves, 0, "programs are not told by their names");
        return;
    };
    assert!(offset + magic.len() <= 256, "the kernel compares no more");
    assert!(mask.as_ref().is_none_or(|mask| mask.len() == magic.len()));
    // The entry takes what it describes.
    let start: Vec<u8> = std::iter::repeat_n(0, *offset).chain(magic.iter().copied()).collect();
    assert!(handler.matches(&start));

    // What would register it again has as many fields as the kernel reads.
    let line = handler.register_line();
    let separator = line.first().copied().unwrap();
    if !handler.interpreter.as_os_str().as_encoded_bytes().contains(&separator) {
        assert_eq!(line.split(|byte| *byte == separator).count(), 8);
    }
}
