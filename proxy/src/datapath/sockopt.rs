//! Socket options that our socket library does not wrap: where a redirected connection was going (SO_ORIGINAL_DST, IPv4
//! and IPv6, also on a dual-stack listener), binding an address without reserving a port, and what a peer took of what was written.
//!
//! The only file of the data path with `unsafe`.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

/// `SO_ORIGINAL_DST` of <linux/netfilter_ipv4.h>, and `IP6T_SO_ORIGINAL_DST`: both 80.
const SO_ORIGINAL_DST: libc::c_int = 80;

/// The destination before the redirect; `None` for a connection that was not redirected (ENOENT of conntrack, or a
/// kernel without it). IPv4-mapped peers of a dual-stack listener need SOL_IP, whatever the family of the socket.
pub(crate) fn original_dst(socket: &impl AsRawFd, local: SocketAddr) -> Option<SocketAddr> {
    let fd = socket.as_raw_fd();
    let is_v4 = match local {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped().is_some(),
    };
    let found = if is_v4 { original_v4(fd) } else { original_v6(fd) };
    found.ok()
}

fn original_v4(fd: RawFd) -> io::Result<SocketAddr> {
    let raw: libc::sockaddr_in = option(fd, libc::SOL_IP)?;
    let address = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
    Ok(SocketAddrV4::new(address, u16::from_be(raw.sin_port)).into())
}

fn original_v6(fd: RawFd) -> io::Result<SocketAddr> {
    let raw: libc::sockaddr_in6 = option(fd, libc::SOL_IPV6)?;
    let address = Ipv6Addr::from(raw.sin6_addr.s6_addr);
    Ok(SocketAddrV6::new(address, u16::from_be(raw.sin6_port), 0, 0).into())
}

fn option<T: Copy>(fd: RawFd, level: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `fd` is an open socket for as long as the caller's reference, `value` has `length` writable bytes, and every
    // bit pattern, all zeros too, is a valid sockaddr.
    let status = unsafe { libc::getsockopt(fd, level, SO_ORIGINAL_DST, value.as_mut_ptr().cast(), &mut length) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < size_of::<T>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel filled all of it, and it was zeroed before.
    Ok(unsafe { value.assume_init() })
}

/// Binds to an address alone: the port is chosen by `connect`, so that one port serves many destinations. Otherwise the
/// marker address has 28,000 ports in all, TIME_WAIT included.
pub(crate) fn bind_address_no_port(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `socket` is open for as long as the reference, and `on` is a readable int of the given length.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What became of bytes that were written to a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The connection is over, and its peer's kernel took none of them: no application has seen a byte.
    Untaken,
    /// Some of them, at least: whether anybody read them nobody can tell.
    Taken,
    /// Not known yet.
    Open,
}

/// TCP_CLOSE of <netinet/tcp.h>: reset, or closed by both sides.
const TCP_CLOSED: u8 = 7;

/// The fate of the last `bytes` that were written, if all that was written before them was taken.
pub(crate) fn fate(socket: &impl AsRawFd, bytes: usize) -> io::Result<Fate> {
    let fd = socket.as_raw_fd();
    let unacknowledged = unacknowledged(fd)?;
    if bytes == 0 || unacknowledged < bytes {
        return Ok(Fate::Taken);
    }
    // The state is the first byte of what TCP_INFO tells; the kernel fills as much as it is asked for.
    let mut state = [0_u8; 8];
    let mut length = state.len() as libc::socklen_t;
    // SAFETY: `fd` as above, and `state` has `length` writable bytes.
    let status =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, state.as_mut_ptr().cast(), &raw mut length) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(if state[0] == TCP_CLOSED { Fate::Untaken } else { Fate::Open })
}

/// Bytes that the kernel has taken from us and the peer has not acknowledged (SIOCOUTQ of tcp(7)).
pub(crate) fn unacknowledged(socket: RawFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request, which has the number of TIOCOUTQ, writes one int, for which there is room; a descriptor that is no socket is
    // refused by the kernel.
    let status = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// An IPv4-mapped address as plain IPv4, so that one address has one form.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
