//! Descriptors that go from one process to another over a Unix socket. The only file of the hand-over with `unsafe`.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, getsockopt, recvmsg, sendmsg, sockopt,
};

use super::BATCH;

/// One byte goes with each batch: descriptors alone are no message.
const CARRIER: &[u8] = b"+";

/// Sends a batch.
pub(super) fn send(stream: &UnixStream, batch: &[OwnedFd]) -> io::Result<()> {
    let raw: Vec<RawFd> = batch.iter().map(|fd| fd.as_raw_fd()).collect();
    let parts = [IoSlice::new(CARRIER)];
    let rights = [ControlMessage::ScmRights(&raw)];
    sendmsg::<UnixAddr>(stream.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives a batch of at most [`BATCH`]; none: the peer has ended, or sent none. A batch that does not fit, or for which this process
/// has no room, is an error.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0; CARRIER.len()];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; BATCH]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and this is the only place that hears of them.
            received.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(received)
}

/// The user at the other end, as the kernel knows it.
pub(super) fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(stream, sockopt::PeerCredentials)?.uid())
}

/// Our own user.
pub(super) fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}
