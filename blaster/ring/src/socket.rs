//! TCP sockets as both ends of a measurement want them.
//!
//! - **INV-K1** The kernel writes at most as many bytes as it is told, and says how many; the room outlives the call.
//! - **INV-K2** The kernel reads an option's value, a number on the stack, within the call and no longer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use blaster_core::report::machine::Tcp;

use socket2::{Domain, Protocol, Socket, Type};

/// Which TCP congestion control connections are to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// cubic where it is offered, else what the machine uses: bbr without a pacing queue discipline arms a timer per
    /// socket, which makes tails that belong to neither side.
    Default,
    /// What the machine uses.
    System,
    /// This one.
    Named(Arc<str>),
}

const CONGESTION_DEFAULT: &[u8] = b"cubic";

/// Where connections go, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The target's address.
    pub to: SocketAddr,
    /// This machine's own addresses, used in turn, of the same family; none: the kernel chooses.
    pub from: Vec<IpAddr>,
}

impl Route {
    /// From wherever the kernel chooses.
    pub fn to(to: SocketAddr) -> Self {
        Self { to, from: Vec::new() }
    }
}

/// A socket to connect to `address`, from the address `source` if there is one. An error if a congestion control that was named
/// is not to be had.
pub fn outgoing(address: &SocketAddr, source: Option<IpAddr>, congestion: &Congestion) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    tune(&socket, congestion)?;
    if let Some(source) = source {
        choose_port_late(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// Has a bind without a port reserve none: the connect chooses one, which then need only differ from those of connections
/// between the same addresses (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2; of IPv6 sockets too).
fn choose_port_late(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: INV-K2.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A socket that listens on `address`; several may share it, and the kernel spreads connections over them.
pub fn listener(address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&(*address).into())?;
    // The kernel lowers it to net.core.somaxconn.
    socket.listen(65_535)?;
    Ok(socket)
}

/// Whether nobody listens on `address`: sockets that share it would not notice another process doing so too.
pub fn is_free(address: &SocketAddr) -> bool {
    let alone = Socket::new(Domain::for_address(*address), Type::STREAM.cloexec(), Some(Protocol::TCP))
        .and_then(|socket| socket.set_reuse_address(true).and_then(|()| socket.bind(&(*address).into())));
    !alone.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Options that connecting and accepted sockets share.
pub fn tune(socket: &Socket, congestion: &Congestion) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    match congestion {
        // Where cubic is not offered the machine's stays, and the report says which it was.
        Congestion::Default => drop(socket.set_tcp_congestion(CONGESTION_DEFAULT)),
        Congestion::System => {}
        Congestion::Named(name) => socket.set_tcp_congestion(name.as_bytes())?,
    }
    Ok(())
}

/// Whether this process may use a congestion control of that name.
pub fn is_congestion_control(name: &str) -> bool {
    Socket::new(Domain::IPV4, Type::STREAM.cloexec(), Some(Protocol::TCP))
        .and_then(|socket| socket.set_tcp_congestion(name.as_bytes()))
        .is_ok()
}

/// The congestion control that a new connection to `address` uses; "unknown" where the kernel does not say.
pub fn congestion_control(address: &SocketAddr, congestion: &Congestion) -> String {
    outgoing(address, None, congestion)
        .and_then(|socket| socket.tcp_congestion())
        .map(|name| String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}

/// Sums up what the kernel says of these connections; none if it says nothing of any.
pub fn tcp_info<'a>(sockets: impl Iterator<Item = &'a Socket>) -> Option<Tcp> {
    let infos: Vec<_> = sockets.filter_map(TcpInfo::read).collect();
    if infos.is_empty() {
        return None;
    }
    let sum = |value: fn(&TcpInfo) -> u64| infos.iter().map(value).sum();
    let median = |value: fn(&TcpInfo) -> u64| {
        let mut values: Vec<_> = infos.iter().map(value).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    Some(Tcp {
        connections: infos.len() as u64,
        rtt_ns: median(|info| info.u32_at(68) * NS_PER_US),
        congestion_window: median(|info| info.u32_at(80)),
        busy_ns: sum(|info| info.u64_at(168) * NS_PER_US),
        receive_window_limited_ns: sum(|info| info.u64_at(176) * NS_PER_US),
        send_buffer_limited_ns: sum(|info| info.u64_at(184) * NS_PER_US),
        retransmits: sum(|info| info.u32_at(100)),
    })
}

const NS_PER_US: u64 = 1_000;

/// `struct tcp_info` of linux/tcp.h up to `tcpi_sndbuf_limited` (Linux 4.9): eight bytes, 24 words of 32 bits, then words of 64
/// and 32 bits at the places given to `u64_at` and `u32_at`. Fields are only ever added behind.
struct TcpInfo([u8; 192]);

impl TcpInfo {
    fn read(socket: &Socket) -> Option<Self> {
        let mut bytes = [0_u8; 192];
        let mut len = bytes.len() as libc::socklen_t;
        // SAFETY: INV-K1.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                bytes.as_mut_ptr().cast(),
                &mut len,
            )
        };
        (result == 0 && len as usize == bytes.len()).then_some(Self(bytes))
    }

    fn u32_at(&self, at: usize) -> u64 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().expect("four bytes")).into()
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_tells_of_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"ping").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        server.write_all(b"pong").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        let socket = Socket::from(client);
        let tcp = tcp_info([&socket].into_iter()).expect("Linux 4.9 or newer");
        assert_eq!((tcp.connections, tcp.retransmits), (1, 0));
        assert!((1..1_000_000_000).contains(&tcp.rtt_ns), "{tcp:?}");
        assert!((1..10_000).contains(&tcp.congestion_window), "{tcp:?}");
        assert!(tcp.receive_window_limited_ns <= tcp.busy_ns, "{tcp:?}");
        assert_eq!(tcp_info([].into_iter()), None);
    }

    #[test]
    fn a_congestion_control_that_is_not_there_is_an_error_only_if_it_was_named() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(outgoing(&address, None, &Congestion::Named("no-such".into())).is_err());
        assert!(outgoing(&address, None, &Congestion::Default).is_ok());
        assert!(outgoing(&address, None, &Congestion::System).is_ok());
    }

    #[test]
    fn connections_come_from_the_address_asked_for_by_a_port_chosen_late() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let peer = |source: &str| {
            let socket = outgoing(&to, Some(source.parse().unwrap()), &Congestion::System).unwrap();
            assert_eq!(
                socket.local_addr().unwrap().as_socket().unwrap().port(),
                0,
                "no port before the connect"
            );
            socket.connect(&to.into()).unwrap();
            let (accepted, from) = listener.accept().unwrap();
            assert_eq!(socket.local_addr().unwrap().as_socket().unwrap(), from);
            (from.ip(), (socket, accepted))
        };
        let (peers, _open): (Vec<_>, Vec<_>) =
            ["127.0.0.2", "127.0.0.3", "127.0.0.2"].into_iter().map(peer).unzip();
        assert_eq!(
            peers.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            ["127.0.0.2", "127.0.0.3", "127.0.0.2"]
        );
        let error = outgoing(&to, Some("192.0.2.1".parse().unwrap()), &Congestion::System).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
    }
}
