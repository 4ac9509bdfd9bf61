//! The listening ports, and the descriptors that their connections need.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};

/// TCP keep-alive: how long a client may be silent before the kernel probes it, how often it probes, and how many
/// unanswered probes end the connection.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// How many clients may wait in the kernel's queue, if the system allows as many (`net.core.somaxconn`). The kernel does
/// not refuse one more, but that client tries again only after a second, which would slow down a burst of clients.
const BACKLOG: u32 = 4096;

/// How many connections the management port takes: probes and scrapers are few.
pub const MANAGEMENT_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// How many descriptors are kept for the management port, the devices and the runtime. The rest is for clients.
const RESERVED_DESCRIPTORS: u64 = 64 + MANAGEMENT_CONNECTIONS.get() as u64;

/// The ports: a label of the metrics of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// For clients.
    Public,
    /// For clients of Nano and Banano, if they are served.
    Nano,
    /// For probes and scrapers.
    Management,
}

impl Port {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Nano => "nano",
            Self::Management => "management",
        }
    }
}

/// Opens a port. `[::]` is every address of IPv6 and IPv4, or of IPv4 alone where there is no IPv6. The port's connections
/// send small packets at once, and are probed for clients that have vanished. Must be called within a Tokio runtime.
///
/// # Errors
///
/// If the system refuses the port. If it is in use on one family of addresses only, the text names the family.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip() != Ipv6Addr::UNSPECIFIED {
        return listen(address, Reach::OwnFamily);
    }
    let every_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    match listen(address, Reach::BothFamilies) {
        Err(error) if is_without_ipv6(&error) => listen(every_v4, Reach::OwnFamily),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_taken = |address| listen(address, Reach::OwnFamily).is_err();
            let families = match (is_taken(every_v4), is_taken(address)) {
                (true, false) => "on IPv4",
                (false, true) => "on IPv6",
                _ => "on IPv4 and IPv6",
            };
            let text = format!("the port is in use {families}");
            Err(io::Error::new(error.kind(), text))
        }
        done => done,
    }
}

/// Whether the kernel has no IPv6: it knows no such sockets, or has no such address.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

/// Which addresses an IPv6 socket accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    OwnFamily,
    BothFamilies,
}

fn listen(address: SocketAddr, reach: Reach) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        // Without this, the system's default net.ipv6.bindv6only applies.
        sockopt::set_ipv6_v6only(&socket, reach == Reach::OwnFamily)?;
        socket
    };
    // A predecessor's connections that are still closing must not delay the start.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    // Accepted connections inherit these (tcp(7)).
    sockopt::set_tcp_nodelay(&listener, true)?;
    sockopt::set_socket_keepalive(&listener, true)?;
    sockopt::set_tcp_keepidle(&listener, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(&listener, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(&listener, PROBES)?;
    Ok(listener)
}

/// Raises the process's limit of open descriptors for `wanted` connections of the public port and `nano` connections of Nano's,
/// if the system allows it. Returns for how many of both there are descriptors: at most as many.
pub fn reserve_descriptors(
    wanted: NonZeroUsize,
    nano: Option<NonZeroUsize>,
) -> (NonZeroUsize, Option<NonZeroUsize>) {
    let all = nano.map_or(0, NonZeroUsize::get);
    let all = all.saturating_add(wanted.get()) as u64;
    let needed = all.saturating_add(RESERVED_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    let mut allowed = limit.current.unwrap_or(u64::MAX);
    if allowed < needed {
        let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        let new = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, new) {
            Ok(()) => allowed = raised,
            Err(error) => {
                tracing::warn!(%error, "cannot raise the limit of open descriptors (ulimit -n)");
            }
        }
    }
    if allowed >= needed {
        return (wanted, nano);
    }
    let room = usize::try_from(allowed.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX);
    let (public, nano_room) = shares(room, wanted, nano);
    tracing::warn!(
        descriptors = allowed,
        wanted,
        connections = public,
        nano_connections = nano_room,
        "the limit of open descriptors (ulimit -n) allows fewer connections than configured: raise the limit, or lower \
         ATTO_WORK_MAX_CONNECTIONS"
    );
    (public, nano_room)
}

/// Divides `room` for connections: Nano's port has half of it at most, and the public port the rest.
fn shares(
    room: usize,
    wanted: NonZeroUsize,
    nano: Option<NonZeroUsize>,
) -> (NonZeroUsize, Option<NonZeroUsize>) {
    let one_at_least = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    let nano = nano.map(|nano| nano.min(one_at_least(room / 2)));
    let rest = room.saturating_sub(nano.map_or(0, NonZeroUsize::get));
    (wanted.min(one_at_least(rest)), nano)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_port_has_at_least_half_of_what_there_is() {
        let count = |count| NonZeroUsize::new(count).unwrap();
        let cases = [
            (896, 10_000, None, (896, None)),
            (896, 10_000, Some(1000), (448, Some(448))),
            (896, 10_000, Some(100), (796, Some(100))),
            (896, 100, Some(1000), (100, Some(448))),
            (1, 10_000, Some(1000), (1, Some(1))),
            (0, 10_000, Some(1000), (1, Some(1))),
        ];
        for (room, wanted, nano, (public, rest)) in cases {
            let expected = (count(public), rest.map(count));
            assert_eq!(
                shares(room, count(wanted), nano.map(count)),
                expected,
                "{room} {nano:?}"
            );
        }
    }

    #[test]
    fn a_kernel_without_ipv6_is_known_by_its_errors() {
        for (error, expected) in [
            (Errno::AFNOSUPPORT, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::ADDRINUSE, false),
            (Errno::ACCESS, false),
        ] {
            assert_eq!(is_without_ipv6(&error.into()), expected, "{error}");
        }
    }
}
