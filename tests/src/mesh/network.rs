//! Where the processes of a mesh live: a namespace each on a bridge of their own, or loopback addresses where we are not root.
//!
//! Nothing outside the namespaces is touched: the bridge too lies in one. Names hold the process id, so that two meshes never
//! meet and what a killed run left behind is found and removed by the next.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::process::{confine, run, run_with_input};

/// Every namespace of ours begins so.
const PREFIX: &str = "lw";

/// The network of a mesh.
pub enum Network {
    /// A namespace each, reached through a bridge.
    Namespaces(Namespaces),
    /// 127.0.N.1 each; nothing is redirected.
    Loopback,
}

/// The namespaces of one mesh, removed with it.
pub struct Namespaces {
    prefix: String,
    hosts: Vec<String>,
}

/// Whether this machine lets us make namespaces: root, and nobody forbids it. Tried once.
pub fn namespaces_work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    *WORK.get_or_init(|| {
        if !confine::is_root() {
            return false;
        }
        let name = format!("{PREFIX}-probe-p{}-0", std::process::id());
        let made = ip(&["netns", "add", &name]).is_ok();
        if made {
            let _ = ip(&["netns", "del", &name]);
        }
        made
    })
}

/// The IPv4 address of the host with this number.
pub fn address_v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, number)
}

/// The IPv6 address of the host with this number.
pub fn address_v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, u16::from(number))
}

/// The loopback address of the host with this number.
pub fn address_loopback(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, number, 1)
}

/// A virtual address: nobody has it, packets to it are routed to the bridge, and only a redirect makes it useful.
pub fn virtual_v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, number)
}

/// The same for IPv6.
pub fn virtual_v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, u16::from(number))
}

impl Namespaces {
    /// Makes a bridge and one namespace for each host; `hosts` gives name and number, `names` the text of their /etc/hosts.
    pub fn new(label: &str, hosts: &[(String, u8)], names: &str) -> Result<Self> {
        // What killed runs left behind.
        remove_namespaces(|owner| !confine::is_alive(owner));
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let mesh = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let prefix = format!("{PREFIX}-{label}-p{}-{mesh}", std::process::id());
        let mut made = Self { prefix, hosts: Vec::new() };

        made.add("bridge", names)?;
        let bridge = made.name("bridge");
        let mut batch =
            String::from("link set lo up\nlink add br0 type bridge\nlink set br0 up\naddr add 10.1.0.1/16 dev br0\n");
        batch.push_str("addr add fd00:1::1/64 dev br0 nodad\n");
        for (host, number) in hosts {
            made.add(host, names)?;
            let name = made.name(host);
            let _ = writeln!(batch, "link add p{number} type veth peer name eth0 netns {name}");
            let _ = writeln!(batch, "link set p{number} master br0 up");
        }
        ip_batch(&bridge, &batch)?;
        for (host, number) in hosts {
            let mut batch = String::from("link set lo up\nlink set eth0 up\n");
            let _ = writeln!(batch, "addr add {}/16 dev eth0", address_v4(*number));
            let _ = writeln!(batch, "addr add {}/64 dev eth0 nodad", address_v6(*number));
            let _ = writeln!(batch, "route add default via 10.1.0.1\nroute add default via fd00:1::1");
            ip_batch(&made.name(host), &batch)?;
        }
        Ok(made)
    }

    /// The namespace of a host, as `ip netns` lists it.
    pub fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn add(&mut self, host: &str, names: &str) -> Result<()> {
        let name = self.name(host);
        ip(&["netns", "add", &name]).context("make a network namespace")?;
        self.hosts.push(host.to_owned());
        let directory = Path::new("/etc/netns").join(&name);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("hosts"), names)?;
        // No name server: what is not in the hosts file is not there, and nobody waits for it.
        fs::write(directory.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for host in &self.hosts {
            remove(&self.name(host));
        }
    }
}

impl Network {
    /// Puts a command where the host lives.
    pub fn confine(&self, command: &mut Command, host: &str) -> Result<()> {
        match self {
            Self::Namespaces(namespaces) => {
                let name = namespaces.name(host);
                confine::in_namespace(command, &name).with_context(|| format!("enter namespace {name}"))
            }
            Self::Loopback => Ok(()),
        }
    }

    /// The address of a host with this number.
    pub fn address(&self, number: u8, v6: bool) -> IpAddr {
        match self {
            Self::Namespaces(_) if v6 => address_v6(number).into(),
            Self::Namespaces(_) => address_v4(number).into(),
            Self::Loopback => address_loopback(number).into(),
        }
    }

    /// The namespace of a host, where there are namespaces.
    pub fn namespace(&self, host: &str) -> Option<String> {
        match self {
            Self::Namespaces(namespaces) => Some(namespaces.name(host)),
            Self::Loopback => None,
        }
    }

    pub fn is_redirected(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    run(command)
}

fn ip_batch(namespace: &str, batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-n", namespace, "-batch", "-"]);
    run_with_input(command, batch).with_context(|| format!("set up namespace {namespace}"))?;
    Ok(())
}

fn remove(name: &str) {
    let _ = ip(&["netns", "del", name]);
    let _ = fs::remove_dir_all(Path::new("/etc/netns").join(name));
}

/// Removes the namespaces of processes that `unwanted` names: a namespace's name holds its owner's id.
pub fn remove_namespaces(unwanted: impl Fn(u32) -> bool) {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        let owner = (parts.next() == Some(PREFIX))
            .then(|| parts.nth(1))
            .flatten()
            .and_then(|id| id.strip_prefix('p')?.parse().ok());
        if owner.is_some_and(&unwanted) {
            remove(&name);
        }
    }
}

#[cfg(test)]
mod tests;
