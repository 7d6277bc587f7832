//! What a `BuildKit` daemon says: the first byte chooses between its status stream and its errors.

use rbx_buildkit::fuzz;
use rbx_request::{Event, parse_status, solve_status};

use crate::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    if bytes.byte().is_multiple_of(2) {
        let Some(events) = fuzz::events(bytes.0) else { return };
        // What is written of them is read again.
        let json = serde_json::to_vec(&solve_status(&events)).unwrap();
        let again = parse_status(&json).unwrap();
        assert_eq!(without_times(&again), without_times(&events));
    } else {
        let failure = fuzz::failure(bytes.0);
        assert!(!failure.reason.chars().any(|char| char.is_control() && char != '\n' && char != '\t'));
        if let Some(range) = failure.source_range {
            assert!(range.first <= range.last);
        }
    }
}

/// What must stay of events: all but their times, since the protocol's and JSON's have different zeros.
fn without_times(events: &[Event]) -> Vec<(u8, String)> {
    let short = |event: &Event| match event {
        Event::Vertex(vertex) => (0, vertex.digest.clone()),
        Event::Status(status) => (1, status.id.clone()),
        Event::Log(log) => (2, format!("{:?}", log.data)),
        Event::Warning(warning) => (3, warning.short.clone()),
    };
    events.iter().map(short).collect()
}
