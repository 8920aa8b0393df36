//! TCP sockets as both ends of a measurement want them.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Congestion control asked for on both ends: bbr without a pacing queue discipline arms a timer per socket,
/// which makes tails that belong to neither side (FIELD: measured on loopback).
const CONGESTION_CONTROL: &[u8] = b"cubic";

/// A socket to connect to `address`.
pub fn outgoing(address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    tune(&socket)?;
    Ok(socket)
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
pub fn tune(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Where cubic is not offered the default stays, and the report says which it was.
    let _ = socket.set_tcp_congestion(CONGESTION_CONTROL);
    Ok(())
}

/// The congestion control that a new connection to `address` uses; "unknown" where the kernel does not say.
pub fn congestion_control(address: &SocketAddr) -> String {
    outgoing(address)
        .and_then(|socket| socket.tcp_congestion())
        .map(|name| String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
