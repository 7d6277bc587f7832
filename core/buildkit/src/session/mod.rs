//! What a daemon asks of its client during a build.
