//! The signals of `STOPSIGNAL`.

/// Signals that programs are stopped by, the usual first, with what they are for.
pub(crate) const SIGNALS: [(&str, &str); 31] = [
    ("SIGTERM", "15: asks to end, as if nothing is said"),
    ("SIGINT", "2: as Ctrl-C"),
    ("SIGQUIT", "3: as Ctrl-\\; nginx and PHP end their requests first"),
    ("SIGKILL", "9: ends at once, and cannot be caught"),
    ("SIGHUP", "1: the terminal is gone; many programs read their configuration again"),
    ("SIGUSR1", "10: what the program makes of it"),
    ("SIGUSR2", "12: what the program makes of it"),
    ("SIGWINCH", "28: the size of the terminal; Apache ends its requests first"),
    ("SIGRTMIN+3", "37: systemd halts"),
    ("SIGABRT", "6: ends, and may leave a core"),
    ("SIGALRM", "14: a timer"),
    ("SIGBUS", "7: an access to memory that is not there"),
    ("SIGCHLD", "17: a child process ended"),
    ("SIGCONT", "18: goes on after a stop"),
    ("SIGFPE", "8: an error of arithmetic"),
    ("SIGILL", "4: an unknown instruction"),
    ("SIGIO", "29: input or output is possible"),
    ("SIGPIPE", "13: nobody reads what is written"),
    ("SIGPROF", "27: a timer of profilers"),
    ("SIGPWR", "30: the power fails"),
    ("SIGSEGV", "11: an access to memory that is not allowed"),
    ("SIGSTOP", "19: stops until SIGCONT, and cannot be caught"),
    ("SIGSYS", "31: an unknown system call"),
    ("SIGTRAP", "5: a breakpoint"),
    ("SIGTSTP", "20: as Ctrl-Z"),
    ("SIGTTIN", "21: reads from the terminal in the background"),
    ("SIGTTOU", "22: writes to the terminal in the background"),
    ("SIGURG", "23: urgent data at a socket"),
    ("SIGVTALRM", "26: a timer of its own time"),
    ("SIGXCPU", "24: too much time of the CPU"),
    ("SIGXFSZ", "25: a file that is too large"),
];

/// What a signal is for, by its name, with `SIG` or without and in any case, or its number.
pub(crate) fn meaning(written: &str) -> Option<(&'static str, &'static str)> {
    let upper = written.to_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let is_it = |(name, text): &&(&'static str, &'static str)| {
        name.strip_prefix("SIG") == Some(short) || text.split(':').next() == Some(written)
    };
    SIGNALS.iter().find(is_it).copied()
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::parse;

    use super::*;

    #[test]
    fn signals_are_those_of_the_language() {
        for (name, _) in SIGNALS {
            let file = parse(&format!("FROM a\nSTOPSIGNAL {name}\n"));
            let host = rbx_platform::Platform::host();
            let request = rbx_lint::Request::new(Vec::new(), host);
            let evaluated = rbx_lint::Evaluated::new(&file, &request, &rbx_lint::Facts::default());
            assert_eq!(evaluated.evaluations[0].diagnostics, [], "{name}");
        }
        assert_eq!(meaning("15"), meaning("term"));
        assert_eq!(meaning("sigwinch").unwrap().0, "SIGWINCH");
        assert_eq!(meaning("64"), None);
    }
}
