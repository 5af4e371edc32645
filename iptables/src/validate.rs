//! `--validate`: makes connections and looks where they arrive, instead of believing the rules.
//!
//! Outbound: a connection to an address that nobody has must arrive at the outbound port with that address as its original
//! destination. Loop guard and inbound: the same as the proxy's uid, which takes CAP_SETUID; without it they are not
//! checked, said aloud. Where the sidecar already listens, an answer from an address that nobody has is the proof.
//! Changes nothing, except that one SYN of the loop guard's check leaves the pod.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    num::NonZeroU16,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::{Uid, setfsuid};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::plan::Plan;

/// Addresses for documentation: routed by a default route, answered by nobody.
const NOBODY_V4: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
];
const NOBODY_V6: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// First port that is dialled; where it is not redirected the next one, and then those before it.
const PORT_FIRST: u16 = 20001;
/// A redirected connection arrives within the machine, at once.
const ARRIVAL_MAX: Duration = Duration::from_secs(2);
/// How long a connection that must not arrive is watched.
const ABSENCE: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(2);

/// What was found, one line each.
#[derive(Debug, Default)]
pub struct Report {
    pub passed: Vec<String>,
    pub failed: Vec<String>,
    /// What could not be looked at, and why.
    pub unchecked: Vec<String>,
}

impl Report {
    /// At least one outbound family was seen to work, and nothing was seen to fail.
    pub fn is_valid(&self) -> bool {
        self.failed.is_empty() && !self.passed.is_empty()
    }
}

/// Looks at the redirect that `plan` describes; `target` in place of the address that nobody has.
pub fn validate(plan: &Plan, target: Option<SocketAddr>) -> Report {
    let mut report = Report::default();
    if Uid::effective().as_raw() == plan.proxy_uid {
        report.failed.push(format!(
            "this runs as the proxy's uid {}, whose connections are not redirected: run it as another",
            plan.proxy_uid
        ));
        return report;
    }
    let targets: Vec<SocketAddr> = match target {
        Some(target) => vec![target],
        None => [unanswered(plan, &NOBODY_V4), unanswered(plan, &NOBODY_V6)].into_iter().flatten().collect(),
    };
    if targets.is_empty() {
        report.unchecked.push(
            "outbound: no address that nobody has is redirected, on any port (`--validate-target` takes one that is)"
                .to_owned(),
        );
    }
    for target in targets {
        check_outbound(plan, target, &mut report);
        check_as_proxy(plan, target, &mut report);
    }
    report
}

fn check_outbound(plan: &Plan, target: SocketAddr, report: &mut Report) {
    let Some(own) = own_address(target) else {
        report
            .unchecked
            .push(format!("outbound {target}: no route there from this pod (`--validate-target` takes another)"));
        return;
    };
    if own == target.ip() || target.ip().is_loopback() {
        report.failed.push(format!("outbound {target}: an address of this pod is never redirected; name another"));
        return;
    }
    let listener = match listen(target, plan.outbound) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        Err(error) => {
            report.failed.push(format!("outbound {target}: listen on port {}: {error}", plan.outbound));
            return;
        }
    };
    let dialled = TcpStream::connect_timeout(&target, ARRIVAL_MAX);
    match (listener, dialled) {
        (None, Ok(_)) => {
            report.passed.push(format!("outbound {target} was answered by what listens on port {}", plan.outbound))
        }
        (Some(listener), Ok(stream)) => match arrived(&listener, &stream, ARRIVAL_MAX) {
            Some(original) if original == Some(target) => {
                report
                    .passed
                    .push(format!("outbound {target} arrives at port {} with its original address", plan.outbound));
            }
            Some(original) => report.failed.push(format!(
                "outbound {target} arrives at port {} with {} as its original address",
                plan.outbound,
                original.map_or("nothing".to_owned(), |address| address.to_string())
            )),
            None => {
                report.failed.push(format!("outbound {target} was answered elsewhere, not at port {}", plan.outbound))
            }
        },
        (_, Err(error)) => {
            report.failed.push(format!("outbound {target} does not arrive at port {}: {error}", plan.outbound))
        }
    }
}

/// The proxy's own connections: to others direct, to an own address through inbound.
fn check_as_proxy(plan: &Plan, target: SocketAddr, report: &mut Report) {
    let Some(own) = own_address(target) else { return };
    let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
    if as_proxy(plan, || Ok(())).is_err() {
        report
            .unchecked
            .push(format!("{family} loop guard and inbound: needs CAP_SETUID to dial as uid {}", plan.proxy_uid));
        return;
    }
    match listen(target, plan.outbound) {
        Err(_) => report.unchecked.push(format!("{family} loop guard: port {} is taken", plan.outbound)),
        Ok(listener) => match as_proxy(plan, || dial(target, ABSENCE))
            .ok()
            .and_then(|stream| arrived(&listener, &stream, ABSENCE))
        {
            None => report.passed.push(format!("{family} connections of uid {} are left alone", plan.proxy_uid)),
            Some(_) => report
                .failed
                .push(format!("{family} connections of uid {} are redirected: the proxy would loop", plan.proxy_uid)),
        },
    }
    let Some(port) = (PORT_FIRST..).find(|&port| plan.redirects_inbound(port)) else {
        report.unchecked.push(format!("{family} inbound: no port from {PORT_FIRST} on is redirected"));
        return;
    };
    let own = SocketAddr::new(own, port);
    match listen(own, plan.inbound) {
        Err(_) => report.unchecked.push(format!("{family} inbound: port {} is taken", plan.inbound)),
        Ok(listener) => {
            let original = as_proxy(plan, || dial(own, ARRIVAL_MAX))
                .ok()
                .and_then(|stream| arrived(&listener, &stream, ARRIVAL_MAX));
            if original == Some(Some(own)) {
                report.passed.push(format!("inbound {own} arrives at port {} with its original address", plan.inbound));
            } else {
                report
                    .failed
                    .push(format!("inbound {own} does not arrive at port {} with its original address", plan.inbound));
            }
        }
    }
}

/// The first of these addresses, with a port, that the plan redirects.
fn unanswered(plan: &Plan, addresses: &[IpAddr]) -> Option<SocketAddr> {
    let ports = || (PORT_FIRST..=u16::MAX).chain(1..PORT_FIRST);
    let mut targets = addresses.iter().flat_map(|&address| ports().map(move |port| SocketAddr::new(address, port)));
    targets.find(|&target| plan.redirects_outbound(target))
}

/// Which of our addresses would dial `target`. A UDP socket asks the routes without sending anything.
fn own_address(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// A listener of the family of `like` alone.
fn listen(like: SocketAddr, port: NonZeroU16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(like), Type::STREAM, Some(Protocol::TCP))?;
    let any: SocketAddr = if like.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, port.get()).into()
    } else {
        socket.set_only_v6(true)?;
        (Ipv6Addr::UNSPECIFIED, port.get()).into()
    };
    socket.set_reuse_address(true)?;
    socket.bind(&any.into())?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Does `make` in a thread of its own with the proxy's file-system uid, which is what the kernel remembers of a socket's
/// maker. The uid is a thread's own, so nothing has to be put back.
fn as_proxy<T: Send>(plan: &Plan, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let uid = Uid::from_raw(plan.proxy_uid);
    let run = || {
        setfsuid(uid);
        // setfsuid answers with the uid of before: asked again, it says whether the first call took.
        if setfsuid(uid) != uid {
            return Err(ErrorKind::PermissionDenied.into());
        }
        make()
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err(io::Error::other("the dialling thread panicked")))
}

fn dial(target: SocketAddr, wait: Duration) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&target, wait)
}

/// The original destination of `stream` as the listener sees it; `None` where it did not arrive there.
fn arrived(listener: &TcpListener, stream: &TcpStream, wait: Duration) -> Option<Option<SocketAddr>> {
    let from = stream.local_addr().ok()?;
    let end = Instant::now() + wait;
    loop {
        match listener.accept() {
            Ok((accepted, peer)) if peer == from => return Some(original_dst(&accepted)),
            Ok(_) => {}
            Err(_) if Instant::now() < end => thread::sleep(POLL),
            Err(_) => return None,
        }
    }
}

fn original_dst(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let address = if stream.local_addr().ok()?.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    address.ok()?.as_socket()
}
