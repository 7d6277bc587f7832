//! `--chmod`: an octal mode, or a symbolic one as `chmod(1)` takes it.

use crate::error::BuildError;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// A mode to set, or changes to make to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chmod {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// One change: `go-w` of `u=rwX,go-w`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits of those it is about, as in `0o700` for the user.
    who: u32,
    operator: u8,
    permissions: Permissions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Permissions {
    /// `rwxXst`, for everybody: what `who` masks.
    Named { bits: u32, execute_if_any: bool, set_id: bool, sticky: bool },
    /// What the user (6), group (3) or others (0) have: the shift to their bits.
    Copied(u32),
}

impl Chmod {
    pub(crate) fn parse(text: &str) -> Result<Self, BuildError> {
        let octal = || {
            BuildError::invalid(format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            ))
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(Self::Octal(mode)),
                _ => Err(octal()),
            };
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            parse_clauses(part, &mut clauses).ok_or_else(octal)?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The mode of what had `mode`.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => {
                // `X` asks what the mode was before all changes.
                let executable = is_directory || mode & 0o111 != 0;
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, executable))
            }
        }
    }

    /// The mode of directories made on the way to a destination.
    pub(crate) fn for_new_directories(&self) -> u32 {
        match self {
            Self::Octal(mode) => mode & 0o777,
            Self::Symbolic(_) => 0o755,
        }
    }
}

fn parse_clauses(text: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let operators_at = text.find(['+', '-', '='])?;
    let mut who = 0;
    for letter in text[..operators_at].chars() {
        who |= match letter {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    if who == 0 {
        who = 0o777;
    }
    let mut rest = &text[operators_at..];
    while let Some(&operator) = rest.as_bytes().first() {
        if !matches!(operator, b'+' | b'-' | b'=') {
            return None;
        }
        rest = &rest[1..];
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        for permissions in parse_permissions(&rest[..end])? {
            clauses.push(Clause { who, operator, permissions });
        }
        rest = &rest[end..];
    }
    Some(())
}

/// What follows an operator: letters, between which classes to copy may stand. BuildKit makes a change of its own of
/// each class and of the letters between two.
fn parse_permissions(text: &str) -> Option<Vec<Permissions>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['u', 'g', 'o']) {
        if at > 0 {
            all.push(parse_letters(&rest[..at])?);
        }
        all.push(Permissions::Copied(match rest.as_bytes()[at] {
            b'u' => 6,
            b'g' => 3,
            _ => 0,
        }));
        rest = &rest[at + 1..];
    }
    if !rest.is_empty() || all.is_empty() {
        all.push(parse_letters(rest)?);
    }
    Some(all)
}

fn parse_letters(text: &str) -> Option<Permissions> {
    let (mut bits, mut execute_if_any, mut set_id, mut sticky) = (0, false, false, false);
    for letter in text.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            'X' => execute_if_any = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permissions::Named { bits, execute_if_any, set_id, sticky })
}

impl Clause {
    /// `executable` says whether `X` is `x`.
    fn apply(&self, mode: u32, executable: bool) -> u32 {
        let special = |bits: u32| {
            let mut special = 0;
            if let Permissions::Named { set_id: true, .. } = self.permissions {
                special |= if self.who & 0o700 != 0 { SET_USER } else { 0 };
                special |= if self.who & 0o070 != 0 { SET_GROUP } else { 0 };
            }
            if let Permissions::Named { sticky: true, .. } = self.permissions {
                special |= if self.who & 0o770 != 0 { STICKY } else { 0 };
            }
            bits & self.who | special
        };
        let bits = match &self.permissions {
            Permissions::Copied(shift) => {
                let bits = mode >> shift & 0o7;
                special(bits << 6 | bits << 3 | bits)
            }
            Permissions::Named { bits, execute_if_any, .. } => {
                special(bits | if *execute_if_any && executable { 0o111 } else { 0 })
            }
        };
        match self.operator {
            b'+' => mode | bits,
            b'-' => mode & !bits,
            _ => {
                let mut cleared = self.who;
                if matches!(self.permissions, Permissions::Named { .. }) {
                    cleared |= if self.who & 0o700 != 0 { SET_USER } else { 0 };
                    cleared |= if self.who & 0o070 != 0 { SET_GROUP } else { 0 };
                }
                mode & !cleared | bits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_modes_replace_and_are_bounded() {
        assert_eq!(Chmod::parse("0644").unwrap().apply(0o777, false), 0o644);
        assert_eq!(Chmod::parse("4755").unwrap().apply(0, false), 0o4755);
        for bad in ["8", "10000", "", "u", "rwx", "u+q", "a+rwx,"] {
            assert!(Chmod::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn symbolic_modes_are_those_of_chmod() {
        for (text, before, directory, after) in [
            ("u+x", 0o644, false, 0o744),
            ("go-w", 0o666, false, 0o644),
            ("a=rX", 0o755, false, 0o555),
            ("a=rX", 0o644, false, 0o444),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o600, false, 0o711),
            ("u+s", 0o755, false, 0o4755),
            ("g=u", 0o740, false, 0o770),
            ("+t", 0o777, true, 0o1777),
            ("u=rw-x+x", 0o700, false, 0o700),
            ("u=go", 0o754, false, 0o454),
            ("o=wu", 0o750, false, 0o757),
            ("o=uw", 0o750, false, 0o752),
            ("g=u", 0o2740, false, 0o2770),
            ("g=rwx", 0o2740, false, 0o770),
            ("u+x,go+X", 0o644, false, 0o744),
            ("o+t", 0o755, true, 0o755),
        ] {
            let mode = Chmod::parse(text).unwrap().apply(before, directory);
            assert_eq!(mode, after, "{text} on {before:o} gave {mode:o}");
        }
    }
}
