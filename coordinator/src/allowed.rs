//! Whom an agent may send load to: `--allow-target HOST[:PORT]|CIDR`, kept by the agent whatever a leader says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Targets that are called so, at any port or that one; an address is one of these networks.
    Host {
        /// In lower case.
        name: String,
        /// None is any.
        port: Option<u16>,
    },
    /// Targets all of whose addresses lie in it.
    Network {
        /// Its first address.
        base: IpAddr,
        /// How many bits of it count.
        bits: u8,
        /// None is any.
        port: Option<u16>,
    },
}

/// Why an entry is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no target to allow: want HOST, HOST:PORT, an address, or a network as in 10.0.0.0/8")]
pub struct AllowedError(String);

/// Whether a target, called `host` and with these addresses, is on the list; an empty list has everybody on it.
pub fn admits(list: &[Allowed], host: &str, port: u16, addresses: &[SocketAddr]) -> bool {
    let host = host.to_ascii_lowercase();
    let by_name = |entry: &Allowed| match entry {
        Allowed::Host { name, port: only } => *name == host && only.is_none_or(|only| only == port),
        Allowed::Network { .. } => false,
    };
    let in_network = |address: &SocketAddr| {
        list.iter().any(|entry| match entry {
            Allowed::Host { .. } => false,
            Allowed::Network { base, bits, port: only } => {
                only.is_none_or(|only| only == port) && shares_bits(*base, address.ip().to_canonical(), *bits)
            }
        })
    };
    list.is_empty() || list.iter().any(by_name) || (!addresses.is_empty() && addresses.iter().all(in_network))
}

fn shares_bits(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(bits)
        }
        _ => false,
    }
}

/// As it is written.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { name, port: None } => f.write_str(name),
            Self::Host { name, port: Some(port) } => write!(f, "{name}:{port}"),
            Self::Network { base, port: Some(port), .. } => write!(f, "{}", SocketAddr::new(*base, *port)),
            Self::Network { base, bits, port: None } => write!(f, "{base}/{bits}"),
        }
    }
}

impl FromStr for Allowed {
    type Err = AllowedError;

    fn from_str(text: &str) -> Result<Self, AllowedError> {
        let wrong = || AllowedError(text.to_owned());
        let whole = |base: IpAddr| if base.is_ipv4() { 32 } else { 128 };
        if let Some((base, bits)) = text.split_once('/') {
            let base: IpAddr = base.parse().map_err(|_| wrong())?;
            let bits = bits.parse().ok().filter(|&bits| bits <= whole(base)).ok_or_else(wrong)?;
            return Ok(Self::Network { base, bits, port: None });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(base) = bare.parse::<IpAddr>() {
            return Ok(Self::Network { base, bits: whole(base), port: None });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let (base, port) = (address.ip(), Some(address.port()));
            return Ok(Self::Network { base, bits: whole(base), port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        if name.is_empty() || name.contains([':', '[', ']', '/']) || name.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(Self::Host { name: name.to_ascii_lowercase(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(list: &[&str], host: &str, port: u16, addresses: &[&str]) -> bool {
        let list: Vec<Allowed> = list.iter().map(|entry| entry.parse().unwrap()).collect();
        let addresses: Vec<SocketAddr> =
            addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), port)).collect();
        super::admits(&list, host, port, &addresses)
    }

    #[test]
    fn a_target_is_allowed_by_its_name_or_by_all_its_addresses() {
        assert!(admits(&["api"], "API", 80, &["192.0.2.1"]));
        assert!(
            admits(&["api:80"], "api", 80, &["192.0.2.1"]) && !admits(&["api:80"], "api", 81, &["192.0.2.1"])
        );
        assert!(admits(&["10.0.0.0/8"], "api", 80, &["10.1.2.3", "10.9.9.9"]));
        assert!(
            !admits(&["10.0.0.0/8"], "api", 80, &["10.1.2.3", "192.0.2.1"]),
            "one of them lies elsewhere"
        );
        assert!(admits(&["10.0.0.0/8", "192.0.2.0/24"], "api", 80, &["10.1.2.3", "192.0.2.1"]));
        assert!(admits(&["192.0.2.1:80"], "192.0.2.1", 80, &["192.0.2.1"]));
        assert!(!admits(&["192.0.2.1:80"], "192.0.2.1", 81, &["192.0.2.1"]));
        assert!(
            admits(&["fd00::/8"], "x", 80, &["fd00::1"]) && !admits(&["fd00::/8"], "x", 80, &["10.0.0.1"])
        );
        assert!(admits(&["0.0.0.0/0"], "x", 80, &["::ffff:10.0.0.1"]), "an IPv4 address in IPv6's clothes");
    }

    #[test]
    fn an_empty_list_allows_all_and_a_list_forbids_the_rest() {
        assert!(admits(&[], "anything", 1, &["192.0.2.1"]));
        assert!(!admits(&["api"], "other", 80, &["192.0.2.1"]) && !admits(&["10.0.0.0/8"], "other", 80, &[]));
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for wrong in ["", "10.0.0.0/33", "a/8", "a:x", "a b", ":80", "fd00::/129", "[::1"] {
            assert!(wrong.parse::<Allowed>().is_err(), "{wrong}");
        }
    }
}
