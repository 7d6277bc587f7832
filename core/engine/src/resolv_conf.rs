//! The `/etc/resolv.conf` of steps, as BuildKit derives it from the machine's.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The machine's file.
const PATH: &str = "/etc/resolv.conf";
/// Where systemd's resolver says which servers it asks itself.
const SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";
/// Where that resolver listens, on the host's network only.
const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
/// Servers for steps that would have none.
const DEFAULT: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844)),
];

/// What steps see, by their network.
#[derive(Debug, Default)]
pub(crate) struct ResolvConf {
    /// On the host's.
    host: String,
    /// On one of their own.
    own: String,
}

impl ResolvConf {
    /// What follows from this machine's files. One that is not there is empty.
    pub(crate) fn of_this_machine() -> Self {
        let read =
            |path: &str| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        Self::new(&read(PATH), || read(SYSTEMD))
    }

    fn new(text: &str, systemd: impl FnOnce() -> String) -> Self {
        let host = Parts::parse(text);
        let stub =
            matches!(host.servers.as_slice(), [(address, zone)] if *address == STUB && zone.is_empty());
        let own = if stub { Parts::parse(&systemd()) } else { Parts::parse(text) };
        let host = if host.servers.is_empty() { host.elsewhere() } else { host };
        Self { host: host.text(), own: own.elsewhere().text() }
    }

    /// The file for a step that has a network of its own, or the host's.
    pub(crate) fn text(&self, own_network: bool) -> Vec<u8> {
        if own_network { &self.own } else { &self.host }.clone().into_bytes()
    }
}

/// A file as BuildKit reads it.
#[derive(Debug, Default)]
struct Parts {
    /// Addresses, and zones of link-local ones.
    servers: Vec<(IpAddr, String)>,
    search: Vec<String>,
    options: Vec<String>,
    /// Lines of other kinds.
    other: Vec<String>,
}

impl Parts {
    fn parse(text: &str) -> Self {
        let mut parts = Self::default();
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            let kind = words.next();
            let mut words = words.map(str::to_owned);
            match kind {
                None => {}
                Some("nameserver") => {
                    let Some(word) = words.next() else { continue };
                    let (address, zone) = word.split_once('%').unwrap_or((&word, ""));
                    parts.servers.extend(address.parse().map(|address| (address, zone.to_owned())));
                }
                // The last of these counts, and all options do.
                Some("search" | "domain") => {
                    let domains: Vec<String> = words.collect();
                    if !domains.is_empty() {
                        parts.search = domains;
                    }
                }
                Some("options") => parts.options.extend(words),
                Some(_) => parts.other.push(line.to_owned()),
            }
        }
        parts
    }

    /// For another network than the host's: without servers that only the host reaches, and with others if none is
    /// left.
    fn elsewhere(mut self) -> Self {
        self.servers.retain(|(address, _)| !address.is_loopback());
        if self.servers.is_empty() {
            self.servers = DEFAULT.map(|address| (address, String::new())).to_vec();
        }
        self
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (address, zone) in &self.servers {
            let sign = if zone.is_empty() { "" } else { "%" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "nameserver {address}{sign}{zone}");
        }
        for (name, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                let _ = writeln!(text, "{name} {}", words.join(" "));
            }
        }
        for line in &self.other {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str, systemd: &str) -> (String, String) {
        let files = ResolvConf::new(text, || systemd.to_owned());
        let text = |own| String::from_utf8(files.text(own)).expect("UTF-8");
        (text(false), text(true))
    }

    const FALLBACK: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n";

    #[test]
    fn lines_are_put_in_order() {
        let (host, own) = files(
            "# comment\n; another\nsearch a.test b.test\noptions ndots:2\nlookup file bind\n\
             \tnameserver  2001:0DB8::0001 x\nnameserver 10.0.0.1\nnameserver nonsense\nnameserver\n\
             options edns0 trust-ad\ndomain c.test\nsearch\nnameserver fe80::1%eth0\n\n  \nsortlist 1.2.3.4",
            "",
        );
        let expected = "nameserver 2001:db8::1\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch c.test\n\
                        options ndots:2 edns0 trust-ad\nlookup file bind\nsortlist 1.2.3.4\n";
        assert_eq!((host.as_str(), own.as_str()), (expected, expected));
    }

    #[test]
    fn a_resolver_of_the_host_is_only_for_the_hosts_network() {
        let (host, own) = files(
            "nameserver 127.0.0.53\noptions edns0\nsearch stub.test\n",
            "nameserver 192.0.2.1\nsearch real.test\n",
        );
        assert_eq!(host, "nameserver 127.0.0.53\nsearch stub.test\noptions edns0\n");
        assert_eq!(own, "nameserver 192.0.2.1\nsearch real.test\n");
        // Not systemd's: there is no other file to ask.
        let (host, own) = files("nameserver 127.0.0.1\nnameserver ::1\nsearch x\n", "nameserver 192.0.2.1\n");
        assert_eq!(host, "nameserver 127.0.0.1\nnameserver ::1\nsearch x\n");
        assert_eq!(own, format!("{FALLBACK}search x\n"));
        let (_, own) = files("nameserver 127.0.0.53\nnameserver 192.0.2.2\n", "nameserver 192.0.2.1\n");
        assert_eq!(own, "nameserver 192.0.2.2\n");
    }

    #[test]
    fn steps_have_some_server() {
        assert_eq!(files("", ""), (FALLBACK.to_owned(), FALLBACK.to_owned()));
        assert_eq!(files("nameserver 127.0.0.53\n", "").1, FALLBACK);
        assert_eq!(files("options x\n", "").0, format!("{FALLBACK}options x\n"));
    }
}
