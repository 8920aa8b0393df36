//! `--source-ips`: this machine's own addresses that connections come from, so that there can be more connections to one target
//! than one address has ports.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use blaster_ring::socket::Route;
use blaster_ring::system;

use crate::limits::local_ports;

/// Which addresses to connect from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceIps {
    /// As many of this machine's as the connections need.
    Auto,
    /// These; at least one.
    These(Vec<IpAddr>),
}

/// Why connections cannot come from where they were asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Not this machine's.
    #[error(
        "--source-ips: {ip} is no address of this machine ({error}): see `ip address` for those it has, or say --source-ips auto"
    )]
    NotLocal {
        /// Asked for.
        ip: IpAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Only addresses of the other family.
    #[error("--source-ips names no {} address, and {target} has no other: name one, or say --source-ips auto", family(.target))]
    NoneFits {
        /// An address of the target.
        target: SocketAddr,
    },
    /// An address that no target can be reached from.
    #[error("--source-ips: {ip} is {}, and no target has such an address: leave it out", family_of(.ip))]
    OfNoUse {
        /// Asked for.
        ip: IpAddr,
    },
    /// A loopback address and a far target, or the like.
    #[error(
        "--source-ips: {target} cannot be reached from {ip} ({error}): name addresses of the interface on the way there, or say \
         --source-ips auto"
    )]
    NoRoute {
        /// Asked for.
        ip: IpAddr,
        /// An address of the target.
        target: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// Most addresses that a range may come to.
const RANGE_MAX: u32 = 65_536;

/// `auto` takes so many addresses that at most half of each one's ports are in use: the kernel's search for a free one gets long
/// beyond that ([`crate::limits::Demand::makes_ports_scarce`]), and closed connections keep theirs for a minute.
const PORTS_FOR_EACH: u64 = 2;

impl FromStr for SourceIps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let mut addresses = Vec::new();
        for part in text.split(',') {
            addresses.extend(range(part.trim())?);
        }
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        Ok(Self::These(addresses))
    }
}

/// An address, or a range of IPv4 addresses.
fn range(text: &str) -> Result<Vec<IpAddr>, String> {
    let wrong = || format!("{text:?}: want auto, or addresses as in 10.0.0.5,10.0.0.7-10.0.0.9");
    if let Ok(address) = text.parse::<IpAddr>() {
        let is_one = !address.is_unspecified() && !address.is_multicast();
        return if is_one {
            Ok(vec![address])
        } else {
            Err(format!("{address} is no machine's own address"))
        };
    }
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let [first, last] = [first, last].map(|end| end.trim().parse::<Ipv4Addr>().map(u32::from));
    let (Ok(first), Ok(last)) = (first, last) else { return Err(wrong()) };
    match last.checked_sub(first) {
        None => Err(format!("{text}: the first address of a range comes before its last")),
        Some(more) if more >= RANGE_MAX => Err(format!("{text}: a range has at most {RANGE_MAX} addresses")),
        Some(_) => Ok((first..=last).map(|address| Ipv4Addr::from(address).into()).collect()),
    }
}

impl fmt::Display for SourceIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::These(addresses) => {
                let words: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

/// Where each target's connections go and come from. `connections` are those of each target; an address of a target that none
/// of the addresses asked for fits is left out if the target has others.
pub fn routes(
    asked: Option<&SourceIps>,
    targets: &[Vec<SocketAddr>],
    connections: &[u32],
) -> Result<Vec<Vec<Route>>, SourceError> {
    match asked {
        None => Ok(targets.iter().map(|target| target.iter().copied().map(Route::to).collect()).collect()),
        Some(SourceIps::These(sources)) => from_these(sources, targets),
        Some(SourceIps::Auto) => {
            Ok(targets.iter().zip(connections).map(|(target, &of)| auto(target, of)).collect())
        }
    }
}

fn from_these(sources: &[IpAddr], targets: &[Vec<SocketAddr>]) -> Result<Vec<Vec<Route>>, SourceError> {
    for &ip in sources {
        UdpSocket::bind((ip, 0)).map_err(|error| SourceError::NotLocal { ip, error })?;
        if !targets.iter().flatten().any(|to| to.is_ipv4() == ip.is_ipv4()) {
            return Err(SourceError::OfNoUse { ip });
        }
    }
    let route = |to: &SocketAddr| {
        let from: Vec<_> = sources.iter().filter(|ip| ip.is_ipv4() == to.is_ipv4()).copied().collect();
        Route { to: *to, from }
    };
    let of_target = |target: &Vec<SocketAddr>| {
        let routes: Vec<_> = target.iter().map(route).filter(|route| !route.from.is_empty()).collect();
        if routes.is_empty() {
            return Err(SourceError::NoneFits { target: target[0] });
        }
        for Route { to: target, from } in &routes {
            for &ip in from {
                source_of(ip, *target).map_err(|error| SourceError::NoRoute {
                    ip,
                    target: *target,
                    error,
                })?;
            }
        }
        Ok(routes)
    };
    targets.iter().map(of_target).collect()
}

fn auto(target: &[SocketAddr], connections: u32) -> Vec<Route> {
    let of_address = u64::from(connections).div_ceil(target.len() as u64);
    let wanted = (of_address * PORTS_FOR_EACH).div_ceil(local_ports()).max(1) as usize;
    target.iter().map(|&to| Route { to, from: own_addresses(to, wanted) }).collect()
}

/// At most `wanted` of this machine's addresses to reach `to` from, the kernel's own choice first.
fn own_addresses(to: SocketAddr, wanted: usize) -> Vec<IpAddr> {
    let unspecified: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let Ok(preferred) = source_of(unspecified, to) else { return Vec::new() };
    let mut addresses = vec![preferred];
    if preferred.is_loopback() && preferred.is_ipv4() {
        // All of 127.0.0.0/8 is this machine's, and none of it stands in a list but the first.
        let all = (u32::from(Ipv4Addr::LOCALHOST)..).map(|address| IpAddr::from(Ipv4Addr::from(address)));
        addresses.extend(all.filter(|ip| *ip != preferred).take(wanted - 1));
    } else if let Ok(all) = system::interface_addresses() {
        let interface = all.iter().find(|(_, ip)| *ip == preferred).map(|(name, _)| name.clone());
        addresses.extend(
            all.iter()
                .filter(|(name, ip)| Some(name) == interface.as_ref() && *ip != preferred)
                .map(|(_, ip)| *ip),
        );
    }
    addresses.retain(|ip| ip.is_ipv4() == to.is_ipv4() && !is_link_local(*ip) && source_of(*ip, to).is_ok());
    addresses.truncate(wanted);
    addresses
}

/// These need to be told their interface, which an address does not.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Whether there is a way to an address from here; sends nothing.
pub fn reach(to: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    source_of(any, to).map(drop)
}

/// Whether there is a route from one address to the other, and which address that is if `from` leaves it open: connecting a
/// UDP socket looks it up and sends nothing.
fn source_of(from: IpAddr, to: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

fn family(address: &SocketAddr) -> &'static str {
    family_of(&address.ip())
}

fn family_of(ip: &IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceIps, String> {
        text.parse()
    }

    fn of(asked: &str, targets: &[&str], connections: u32) -> Result<Vec<Vec<Route>>, String> {
        let targets: Vec<_> = targets.iter().map(|target| vec![target.parse().unwrap()]).collect();
        let connections = vec![connections; targets.len()];
        routes(Some(&parse(asked).unwrap()), &targets, &connections).map_err(|error| error.to_string())
    }

    fn addresses(routes: &[Vec<Route>]) -> Vec<String> {
        routes[0][0].from.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn addresses_are_a_list_with_ranges_each_once() {
        assert_eq!(parse("auto"), Ok(SourceIps::Auto));
        let list = parse("127.0.0.9, 127.0.0.1-127.0.0.3,127.0.0.2,::1").unwrap();
        assert_eq!(list.to_string(), "127.0.0.9,127.0.0.1,127.0.0.2,127.0.0.3,::1");
        assert_eq!(parse(&list.to_string()), Ok(list));
        for wrong in [
            "",
            "x",
            "127.0.0.1,",
            "127.0.0.3-127.0.0.1",
            "10.0.0.0-10.9.0.0",
            "0.0.0.0",
            "::1-::2",
            "224.0.0.1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn auto_takes_as_many_loopback_addresses_as_the_connections_need() {
        let ports = u32::try_from(local_ports()).unwrap();
        let count = |connections| addresses(&of("auto", &["127.0.0.1:1"], connections).unwrap()).len();
        assert_eq!(count(1), 1);
        assert_eq!(count(ports / 2), 1);
        assert_eq!(count(ports / 2 + 1), 2);
        assert_eq!(count(2 * ports), 4);
        assert_eq!(addresses(&of("auto", &["127.0.0.1:1"], ports).unwrap()), ["127.0.0.1", "127.0.0.2"]);
    }

    #[test]
    fn an_address_that_is_not_this_machines_or_fits_no_target_is_told() {
        let error = |asked, targets: &[&str]| of(asked, targets, 1).unwrap_err();
        assert!(error("192.0.2.1", &["127.0.0.1:1"]).contains("no address of this machine"));
        assert!(error("127.0.0.1", &["[::1]:1"]).contains("is IPv4, and no target"));
        assert!(
            error("127.0.0.1", &["127.0.0.1:1", "[::1]:1"]).contains("names no IPv6 address, and [::1]:1")
        );
        // Packets from a loopback address leave by no other interface.
        assert!(error("127.0.0.2", &["192.0.2.1:1"]).contains("cannot be reached from 127.0.0.2"));
    }

    #[test]
    fn an_address_of_a_target_that_no_source_fits_is_left_out_if_it_has_others() {
        let target = vec!["[::1]:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()];
        let routes = routes(Some(&parse("127.0.0.2,127.0.0.3").unwrap()), &[target], &[1]).unwrap();
        assert_eq!(
            (routes[0].len(), addresses(&routes)),
            (1, vec!["127.0.0.2".to_owned(), "127.0.0.3".to_owned()])
        );
    }

    #[test]
    fn without_being_asked_for_the_kernel_chooses() {
        let target: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert_eq!(routes(None, &[vec![target]], &[1]).unwrap(), [[Route::to(target)]]);
    }
}
