//! Files of builders, and what drivers and daemons are told. The first byte chooses.

use rbx_builder::{fuzz, validate_name};
use rbx_driver::DriverKind;

use crate::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    if bytes.byte().is_multiple_of(2) {
        let Some(group) = fuzz::group(bytes.0) else { return };
        // Names lead out of no directory.
        assert!(validate_name(&group.name).is_ok());
        assert!(group.nodes.iter().all(|node| validate_name(&node.name).is_ok()));
        for driver in DriverKind::ALL {
            fuzz::check(driver, &group);
        }
        // What is written is read again, and from then on it stays the same, numbers with many digits aside.
        let again = fuzz::group(&fuzz::written(&group)).unwrap();
        assert_eq!((again.name, again.driver, again.dynamic), (group.name, group.driver, group.dynamic));
        for (again, node) in again.nodes.iter().zip(&group.nodes) {
            assert_eq!((&again.name, &again.endpoint), (&node.name, &node.endpoint));
            assert_eq!((&again.flags, &again.driver_opts), (&node.flags, &node.driver_opts));
            assert_eq!(again.platforms(), node.platforms());
            assert!(again.files().eq(node.files()));
        }
        assert_eq!(again.nodes.len(), group.nodes.len());
    } else {
        let (options, flags) = (bytes.text(), bytes.text());
        if let Some(flags) = fuzz::flags(&options, &flags) {
            // Each container may use the network, or what it may do was said.
            assert!(flags.iter().any(|flag| flag.starts_with("--allow-insecure-entitlement")));
        }
    }
}
