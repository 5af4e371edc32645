//! A pod and a peer: two network namespaces on one veth pair, and sockets made inside them.
//!
//! A thread enters a namespace (`setns`) and takes a uid (`setfsuid`, which is what the kernel remembers of a socket's
//! maker), makes its socket, and ends: both belong to the thread alone. Nothing here knows the rules under test.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns},
    unistd::{Uid, setfsuid},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub(crate) const POD_V4: &str = "10.77.1.2";
pub(crate) const POD_V6: &str = "fd77::2";
pub(crate) const PEER_V4: &str = "10.77.1.1";
pub(crate) const PEER_V6: &str = "fd77::1";
/// A second address of the peer, excluded from the redirect.
pub(crate) const EXCLUDED_V4: &str = "10.77.2.9";
pub(crate) const EXCLUDED_V6: &str = "fd78::9";

pub(crate) const PROXY_UID: u32 = 2337;
/// Any other uid is the application's.
pub(crate) const APPLICATION_UID: u32 = 1000;

const CONNECT_MAX: Duration = Duration::from_secs(3);
const ARRIVAL_MAX: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(1);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Two namespaces, removed with this value.
pub(crate) struct Pod {
    pub(crate) pod: String,
    pub(crate) peer: String,
}

/// A listener somewhere, with the name that a case calls it by.
pub(crate) struct Place {
    name: &'static str,
    listener: TcpListener,
}

/// Where a connection came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) place: &'static str,
    /// What the kernel says was dialled; `None` where the connection was not redirected.
    pub(crate) original: Option<SocketAddr>,
    /// Who the listener thinks is calling.
    pub(crate) peer: SocketAddr,
}

impl Pod {
    pub(crate) fn new() -> Pod {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lw-redirect-{}-{number}", std::process::id());
        let pod = Pod { pod: format!("{name}-pod"), peer: format!("{name}-peer") };
        let (inside, outside) = (&pod.pod, &pod.peer);
        ip(&["netns", "add", inside]);
        ip(&["netns", "add", outside]);
        ip(&["-n", inside, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", outside]);
        for (namespace, addresses) in [
            (inside, vec![format!("{POD_V4}/24"), format!("{POD_V6}/64")]),
            (
                outside,
                vec![
                    format!("{PEER_V4}/24"),
                    format!("{PEER_V6}/64"),
                    format!("{EXCLUDED_V4}/32"),
                    format!("{EXCLUDED_V6}/128"),
                ],
            ),
        ] {
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
            ip(&["-n", namespace, "link", "set", "eth0", "up"]);
            for address in addresses {
                let mut args = vec!["-n", namespace, "addr", "add", &address, "dev", "eth0"];
                if address.contains(':') {
                    args.push("nodad");
                }
                ip(&args);
            }
        }
        ip(&["-n", inside, "route", "add", "default", "via", PEER_V4]);
        ip(&["-n", inside, "-6", "route", "add", "default", "via", PEER_V6]);
        pod
    }

    /// Runs a program in the pod.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.pod, program])
            .args(args)
            .output()
            .expect("ip was found when the test began")
    }

    /// The same, for what must succeed; its stdout.
    pub(crate) fn ok(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `laneway-init` in the pod.
    pub(crate) fn init(&self, args: &[&str]) -> Output {
        self.run(env!("CARGO_BIN_EXE_laneway-init"), args)
    }

    pub(crate) fn init_ok(&self, args: &[&str]) -> String {
        self.ok(env!("CARGO_BIN_EXE_laneway-init"), args)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for namespace in [&self.pod, &self.peer] {
            // The namespace may be half made, and a panic is under way then: nothing to add to it.
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

/// Listens for both families on one socket, as the sidecar does: IPv4 peers show as mapped addresses.
pub(crate) fn listen(namespace: &str, name: &'static str, port: u16) -> Place {
    let listener = inside(namespace, 0, || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        socket.listen(16)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    });
    Place { name, listener: listener.expect("a fresh namespace has every port free") }
}

/// Dials from a namespace as a uid, and says where among `places` the connection came out.
pub(crate) fn dial(namespace: &str, uid: u32, from: Option<IpAddr>, to: SocketAddr, places: &[Place]) -> Arrival {
    let dialled = inside(namespace, uid, || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        socket.connect_timeout(&to.into(), CONNECT_MAX)?;
        Ok(TcpStream::from(socket))
    });
    let stream = dialled.unwrap_or_else(|error| panic!("dial {to} as {uid} from {from:?}: {error}"));
    let local = stream.local_addr().expect("a connected socket has an address");
    let end = Instant::now() + ARRIVAL_MAX;
    while Instant::now() < end {
        for place in places {
            let Ok((accepted, peer)) = place.listener.accept() else { continue };
            if peer.port() == local.port() {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                return Arrival { place: place.name, original: original_dst(&accepted), peer };
            }
        }
        thread::sleep(POLL);
    }
    panic!("{to} as {uid} from {from:?} was answered by none of the listeners");
}

/// What a redirected connection's maker dialled.
///
/// On a dual-stack listener an IPv4 connection shows mapped addresses (`::ffff:a.b.c.d`), and the kernel keeps its
/// original destination under `SOL_IP` (option 80); an IPv6 one keeps it under `SOL_IPV6`, option 80 too. For a connection
/// that nobody redirected the kernel either knows none (ENOENT) or, where it tracks connections at all, names the address
/// that was dialled, which is the listener's own: both are `None` here.
fn original_dst(accepted: &TcpStream) -> Option<SocketAddr> {
    let local = accepted.local_addr().expect("an accepted socket has an address");
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let socket = SockRef::from(accepted);
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original.ok()?.as_socket().map(|found| SocketAddr::new(found.ip(), found.port())).filter(|found| *found != local)
}

fn inside<T: Send>(namespace: &str, uid: u32, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let enter = || {
        let namespace = File::open(format!("/var/run/netns/{namespace}"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        setfsuid(Uid::from_raw(uid));
        make()
    };
    thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|_| panic!("a thread in {namespace} panicked"))
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip was found when the test began");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
