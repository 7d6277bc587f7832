//! docker-rbx
fn main() {}
