//! Names become addresses, once, before the run.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use blaster_core::plan::target::Target;

/// Why a target's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {error}: check the name, or give an address")]
pub struct ResolveError {
    host: String,
    error: std::io::Error,
}

/// All addresses of a target, in the order the system gives them; at least one.
pub fn resolve(target: &Target) -> Result<Vec<SocketAddr>, ResolveError> {
    let failed = |error| ResolveError { host: target.host.clone(), error };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (target.host.as_str(), target.port).to_socket_addrs().map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(std::io::Error::other("it has no address")));
    }
    Ok(addresses)
}

/// Whether an address belongs to this machine: only those can be bound.
pub fn is_local(address: IpAddr) -> bool {
    address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_documentation_addresses_are_not() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn an_address_resolves_to_itself() {
        let target = "127.0.0.1:80".parse().unwrap();
        assert_eq!(resolve(&target).unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    }
}
