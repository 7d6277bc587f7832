//! The ports of `EXPOSE`.

use std::net::IpAddr;

use crate::go;

/// Takes a specification such as `8000-8002/udp` apart: `8000/udp`, `8001/udp`, `8002/udp`. An address and a host
/// port before it are read and dropped, as in BuildKit.
pub(crate) fn ports(specification: &str) -> Result<Vec<String>, String> {
    let (address, host, container) = split(specification);
    let invalid = |reason: &str| format!("invalid port: {}: {reason}", go::quoted(specification));
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err(invalid("no port specified"));
    }
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err(invalid(&format!("invalid proto: {protocol}"))),
    };
    if !address.is_empty() {
        let bare = if address.starts_with('[') { bracketed(address)? } else { address };
        if bare.parse::<IpAddr>().is_err() {
            return Err(format!("invalid IP address: {address}"));
        }
    }
    let (first, last) = port_range(range).ok_or_else(|| format!("invalid containerPort: {range}"))?;
    if !host.is_empty() {
        let (host_first, host_last) = port_range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if last - first != host_last - host_first && first != last {
            return Err(format!("invalid ranges specified for container and host Ports: {range} and {host}"));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// What stands in the brackets of an address, as `net.SplitHostPort` reads it with an empty port.
fn bracketed(address: &str) -> Result<&str, String> {
    let wrong =
        |reason: &str| Err(format!("invalid IP address {address}: address {address}:: {reason} in address"));
    let Some((inner, rest)) = address[1..].split_once(']') else { return wrong("missing ']'") };
    if rest.starts_with(':') {
        wrong("too many colons")
    } else if !rest.is_empty() {
        wrong("missing port")
    } else if inner.contains('[') {
        wrong("unexpected '['")
    } else {
        Ok(inner)
    }
}

/// Address, host port and container port.
fn split(specification: &str) -> (&str, &str, &str) {
    match specification.rsplit_once(':') {
        None => ("", "", specification),
        Some((rest, container)) => match rest.rsplit_once(':') {
            None => ("", rest, container),
            Some((address, host)) => (address, host, container),
        },
    }
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok();
    match text.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            (first <= last).then_some((first, last))
        }
        None => port(text).map(|port| (port, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn reads_ports() {
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("8000-8001/UDP").unwrap(), ["8000/udp", "8001/udp"]);
        assert_eq!(ports("127.0.0.1:80:8080").unwrap(), ["8080/tcp"]);
        assert_eq!(ports("[::1]:80:8080").unwrap(), ["8080/tcp"]);
        assert_eq!(ports("a").unwrap_err(), "invalid containerPort: a");
        assert_eq!(ports("80/abc").unwrap_err(), "invalid port: \"80/abc\": invalid proto: abc");
        assert_eq!(ports("/tcp").unwrap_err(), "invalid port: \"/tcp\": no port specified");
        assert_eq!(ports("9-8").unwrap_err(), "invalid containerPort: 9-8");
        assert_eq!(ports("70000").unwrap_err(), "invalid containerPort: 70000");
        assert_eq!(ports("x:80").unwrap_err(), "invalid hostPort: x");
        assert_eq!(
            ports("[::1:80:80").unwrap_err(),
            "invalid IP address [::1: address [::1:: missing ']' in address"
        );
        assert_eq!(
            ports("[::1]x:80:80").unwrap_err(),
            "invalid IP address [::1]x: address [::1]x:: missing port in address"
        );
        assert_eq!(ports("nohost:1:80").unwrap_err(), "invalid IP address: nohost");
    }
}
