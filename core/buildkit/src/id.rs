//! Random names of builds and sessions.

use ring::rand::{SecureRandom, SystemRandom};

/// The digits that BuildKit's own ids are made of.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// As long as BuildKit's: 36 to the 25th is more than 2 to the 128th.
const LENGTH: usize = 25;

/// A name that nobody else has or guesses: whoever knows the id of a session can ask it for its secrets.
pub(crate) fn new_id() -> String {
    let random = SystemRandom::new();
    let mut id = String::with_capacity(LENGTH);
    while id.len() < LENGTH {
        let mut bytes = [0_u8; 32];
        random.fill(&mut bytes).expect("the system has random bytes");
        // 252 is the greatest multiple of 36 in a byte: those above would make the first digits likelier.
        let digits = bytes.iter().filter(|byte| **byte < 252).map(|byte| DIGITS[usize::from(byte % 36)]);
        id.extend(digits.take(LENGTH - id.len()).map(char::from));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_buildkits_form_and_differ() {
        let ids: std::collections::HashSet<String> = (0..100).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 25 && id.bytes().all(|byte| DIGITS.contains(&byte))));
    }
}
