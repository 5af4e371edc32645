//! A mesh of real processes: a control plane, and pods of one application and one sidecar each.
//!
//! ```text
//!  Plan { services, pods } --up--> Mesh { network, control, pods }     apply, lanectl, curl, switch ...     drop: all gone
//! ```
//! With root every pod lives in a namespace of its own behind a real redirect; without, on 127.0.N.1 with explicit listeners.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use laneway_proto::contract;

use crate::client::Speech;
use crate::process::{Process, Scratch, confine, program, run, wait_for};

pub mod network;
pub mod plan;
pub mod sidecar;

use network::{Namespaces, Network};
pub use plan::{Plan, PodPlan, ServicePlan};

/// Longest wait for a part to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for another mesh to leave the loopback addresses.
const TURN_TIMEOUT: Duration = Duration::from_secs(600);
/// The applications' user: neither root nor the proxy.
const APPLICATION_UID: u32 = 10_001;
/// Host numbers of the parts that are no pods.
const CONTROL_NUMBER: u8 = 2;
const ENTRY_NUMBER: u8 = 3;
/// Pods are numbered from here.
pub const POD_NUMBER_FIRST: u8 = 11;
/// The entry listens here.
const ENTRY_PORT: u16 = 8080;

/// A mesh that is up. Everything it started ends with it.
pub struct Mesh {
    plan: Plan,
    // Before the network and the scratch directory: processes end first.
    pods: BTreeMap<String, Pod>,
    entry: Option<Process>,
    control: Option<Process>,
    network: Network,
    scratch: Scratch,
    // Last: the addresses are free when all that listened there has ended.
    _turn: Option<File>,
}

/// Where the control plane of a mesh on loopback is asked by sidecars.
pub fn loopback_discovery() -> SocketAddr {
    SocketAddr::new(Network::Loopback.address(CONTROL_NUMBER, false), contract::PORT_DISCOVERY)
}

/// On loopback every mesh has the same addresses, so there is one at a time on a machine, whichever program runs it.
fn turn() -> Result<File> {
    let path = std::env::temp_dir().join("laneway-loopback-mesh");
    // It belongs to who was first; the others read it, which is enough to wait for it. Nobody may create it again: where /tmp is
    // protected, not even root opens another one's file so.
    let file = File::open(&path).or_else(|absent| {
        if absent.kind() != ErrorKind::NotFound {
            return Err(absent);
        }
        match File::create_new(&path) {
            Ok(file) => file.set_permissions(Permissions::from_mode(0o444))?,
            Err(other) if other.kind() == ErrorKind::AlreadyExists => {}
            Err(failure) => return Err(failure),
        }
        File::open(&path)
    });
    let file = file.with_context(|| format!("open {}", path.display()))?;
    wait_for(TURN_TIMEOUT, || file.try_lock().ok()).context("another mesh keeps the loopback addresses")?;
    Ok(file)
}

/// One application instance and its sidecar.
pub struct Pod {
    pub application: Option<Process>,
    pub sidecar: Option<Process>,
    pub address: IpAddr,
}

impl Mesh {
    /// Starts everything and returns when every sidecar is ready.
    pub fn up(plan: Plan) -> Result<Self> {
        let scratch = Scratch::new(&plan.label)?;
        // Other users write logs and sockets of their own here.
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o1777))?;
        let turn = if plan.redirect { None } else { Some(turn()?) };
        let network = if plan.redirect {
            let mut hosts = vec![("control".to_owned(), CONTROL_NUMBER), ("entry".to_owned(), ENTRY_NUMBER)];
            hosts.extend(plan.pods.iter().zip(POD_NUMBER_FIRST..).map(|(pod, number)| (pod.name.clone(), number)));
            Network::Namespaces(Namespaces::new(&plan.label, &hosts, &plan.hosts_file())?)
        } else {
            Network::Loopback
        };
        let mut mesh = Self { plan, pods: BTreeMap::new(), entry: None, control: None, network, scratch, _turn: turn };
        mesh.write_discovery()?;
        mesh.write_entry_rules(&[])?;
        mesh.start_control()?;
        for index in 0..mesh.plan.pods.len() {
            mesh.start_pod(index)?;
        }
        mesh.start_entry()?;
        for pod in mesh.plan.pods.clone() {
            mesh.await_ready(&pod.name)?;
        }
        Ok(mesh)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub fn pod(&mut self, name: &str) -> Result<&mut Pod> {
        self.pods.get_mut(name).with_context(|| format!("the mesh has no pod `{name}`"))
    }

    /// Where a pod's application is reached, through its sidecar.
    pub fn socket(&self, pod: &str) -> Result<SocketAddr> {
        let (index, plan) = self.find(pod)?;
        let service = self.plan.service(&plan.service)?;
        Ok(SocketAddr::new(self.address_of(index), service.port))
    }

    /// The entry's address, for curl.
    pub fn entry_address(&self) -> SocketAddr {
        SocketAddr::new(self.network.address(ENTRY_NUMBER, self.plan.v6), ENTRY_PORT)
    }

    /// A command that runs where a host of the mesh lives: a pod, `entry` or `control`.
    pub fn command(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        self.network.confine(&mut command, host)?;
        Ok(command)
    }

    /// The same command as a person would type it, for messages.
    pub fn typed(&self, host: &str) -> String {
        match &self.network {
            Network::Namespaces(namespaces) => format!("ip netns exec {} ", namespaces.name(host)),
            Network::Loopback => String::new(),
        }
    }

    /// Runs lanectl against the control plane.
    pub fn lanectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("control", program("lanectl")?)?;
        command.args(["--server", &self.admin_url()]).args(arguments);
        run(command).with_context(|| format!("lanectl {}", arguments.join(" ")))
    }

    /// The control plane's admin API.
    pub fn admin_url(&self) -> String {
        format!("http://{}", SocketAddr::new(self.control_address(), contract::PORT_CONTROL))
    }

    /// Replaces everything by the documents of a file, and returns when every sidecar has them.
    pub fn apply(&self, documents: &Path) -> Result<String> {
        self.lanectl(&["apply", "-f", &documents.to_string_lossy(), "--prune", "default", "--wait"])
    }

    /// Writes the entry's rules; they hold for its next request.
    pub fn write_entry_rules(&self, rules: &[crate::entry::Rule]) -> Result<()> {
        write_whole(&self.scratch.path().join("entry.yaml"), &serde_json::to_string_pretty(rules)?)
    }

    /// Writes services and instances where the control plane reads them.
    pub fn write_discovery(&self) -> Result<()> {
        write_whole(&self.scratch.path().join("services.yaml"), &self.plan.discovery(|index| self.address_of(index)))
    }

    /// Changes the plan's pods as discovery sees them.
    pub fn rewrite_discovery(&mut self, change: impl FnOnce(&mut Plan)) -> Result<()> {
        change(&mut self.plan);
        self.write_discovery()
    }

    /// Starts, or after [`Self::kill_control`] restarts, the control plane.
    pub fn start_control(&mut self) -> Result<()> {
        let directory = self.scratch.path().to_owned();
        let ready = directory.join(sidecar::CONTROL_READY_FILE);
        let _ = fs::remove_file(&ready);
        let mut command = self.command("control", program("laneway-control")?)?;
        sidecar::control_arguments(&mut command, self.control_address(), &directory);
        let mut control = Process::start("laneway-control", command, &directory.join("control.log"))?;
        control.wait_until(READY_TIMEOUT, "ready", || ready.exists())?;
        self.control = Some(control);
        Ok(())
    }

    /// Ends the control plane with SIGKILL.
    pub fn kill_control(&mut self) {
        self.control = None;
    }

    /// The process id of the control plane.
    pub fn control_id(&self) -> Option<u32> {
        self.control.as_ref().map(Process::id)
    }

    /// Ends a pod's application and starts it anew with another environment.
    pub fn restart_application(&mut self, pod: &str, change: impl FnOnce(&mut PodPlan)) -> Result<()> {
        let (index, _) = self.find(pod)?;
        self.pod(pod)?.application = None;
        change(&mut self.plan.pods[index]);
        let application = self.start_application(index)?;
        self.pod(pod)?.application = Some(application);
        Ok(())
    }

    /// Starts a pod's application anew if this changes anything about it, and waits until it listens.
    pub fn change_application(&mut self, pod: &str, change: impl FnOnce(&mut PodPlan) -> Result<()>) -> Result<()> {
        let (_, plan) = self.find(pod)?;
        let mut wanted = plan.clone();
        change(&mut wanted)?;
        if !plan.runs_the_same(&wanted) {
            self.restart_application(pod, |plan| *plan = wanted)?;
        }
        self.await_application(pod)
    }

    /// Waits until a pod's application listens: asked of its own socket, past the sidecar.
    pub fn await_application(&mut self, name: &str) -> Result<()> {
        let (index, plan) = self.find(name)?;
        let port = self.plan.service(&plan.service)?.port;
        let socket = match &self.network {
            // Loopback is not redirected.
            Network::Namespaces(_) => SocketAddr::from(([127, 0, 0, 1], port)),
            Network::Loopback => self.application_sockets(index, port)[0],
        };
        let namespace = self.network.namespace(name);
        let Some(mut application) = self.pod(name)?.application.take() else {
            bail!("pod `{name}` has no application")
        };
        let asked = std::thread::scope(|threads| {
            let asking = threads.spawn(|| {
                if let Some(namespace) = &namespace {
                    confine::enter_namespace(namespace).context("enter the namespace")?;
                }
                application.wait_until(READY_TIMEOUT, "listening", || std::net::TcpStream::connect(socket).is_ok())
            });
            asking.join().expect("waiting does not panic")
        });
        self.pod(name)?.application = Some(application);
        asked
    }

    /// curl, from the entry's place, to the entry.
    pub fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("entry", "curl")?;
        command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments);
        run(command)
    }

    fn find(&self, pod: &str) -> Result<(usize, &PodPlan)> {
        let found = self.plan.pods.iter().enumerate().find(|(_, plan)| plan.name == pod);
        found.with_context(|| format!("the plan has no pod `{pod}`"))
    }

    fn address_of(&self, index: usize) -> IpAddr {
        self.network.address(POD_NUMBER_FIRST + index as u8, self.plan.v6)
    }

    fn control_address(&self) -> IpAddr {
        self.network.address(CONTROL_NUMBER, false)
    }

    fn start_pod(&mut self, index: usize) -> Result<()> {
        let plan = self.plan.pods[index].clone();
        let address = self.address_of(index);
        if self.plan.redirect {
            let mut init = self.command(&plan.name, program("laneway-init")?)?;
            init.args(&self.plan.init_arguments);
            run(init).with_context(|| format!("redirect pod {}", plan.name))?;
        }
        let application = self.start_application(index)?;
        let sidecar = self.start_sidecar(index)?;
        self.pods.insert(plan.name, Pod { application: Some(application), sidecar: Some(sidecar), address });
        Ok(())
    }

    fn start_application(&self, index: usize) -> Result<Process> {
        let plan = &self.plan.pods[index];
        let service = self.plan.service(&plan.service)?;
        let listen = self.application_sockets(index, service.port);
        // Not redirected, an application calls its sidecar as one calls a proxy, and names the service in Host.
        let via = if self.plan.redirect {
            String::new()
        } else {
            SocketAddr::new(self.address_of(index), contract::PORT_OUTBOUND).to_string()
        };
        let mut command = match &plan.program {
            Some((program, arguments)) => {
                let mut command = self.command(&plan.name, program)?;
                command.args(arguments);
                command
            }
            None => self.command(&plan.name, program("laneway-echo")?)?,
        };
        command
            .env("LISTEN", listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            .env("NAME", plan.service.to_uppercase())
            .env("TAG", &plan.tag)
            .env("ADDRESS", self.address_of(index).to_string())
            .env("NEXT", &plan.next)
            .env("VIA", via)
            .env(
                "NEXT_SPEECH",
                match plan.speech {
                    Speech::Http1 => "http1",
                    Speech::H2c => "h2c",
                    Speech::Grpc => "grpc",
                },
            )
            .env("FORWARD", &plan.forward)
            .envs(plan.application_environment.iter().map(|(name, value)| (name, value)));
        if confine::is_root() {
            confine::as_user(&mut command, APPLICATION_UID);
        }
        Process::start(&plan.name, command, &self.log(&plan.name, "application"))
    }

    /// Starts a pod's sidecar; [`Self::await_ready`] waits for it.
    pub fn start_sidecar(&self, index: usize) -> Result<Process> {
        self.start_sidecar_with(index, &[])
    }

    /// The same with further variables, or others.
    pub fn start_sidecar_with(&self, index: usize, variables: &[(&str, &str)]) -> Result<Process> {
        let plan = &self.plan.pods[index];
        let service = self.plan.service(&plan.service)?;
        let mut command = self.command(&plan.name, program("laneway-proxy")?)?;
        let place = sidecar::Place {
            address: self.address_of(index),
            control: SocketAddr::new(self.control_address(), contract::PORT_DISCOVERY),
            application: (!self.plan.redirect).then(|| self.application_sockets(index, service.port)[0]),
        };
        sidecar::sidecar_arguments(&mut command, plan, &place);
        command.envs(variables.iter().copied());
        if confine::is_root() {
            confine::as_user(&mut command, contract::PROXY_UID);
        }
        Process::start(&format!("sidecar of {}", plan.name), command, &self.log(&plan.name, "sidecar"))
    }

    /// Behind a redirect an application listens everywhere; on loopback beside its sidecar, whose address the peers know.
    fn application_sockets(&self, index: usize, port: u16) -> Vec<SocketAddr> {
        if self.plan.redirect {
            return vec![SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([0; 8], port))];
        }
        vec![SocketAddr::from(([127, 0, POD_NUMBER_FIRST + index as u8, 2], port))]
    }

    fn start_entry(&mut self) -> Result<()> {
        let mut command = self.command("entry", program("laneway-entry")?)?;
        command.env("LISTEN", self.entry_address().to_string()).env("RULES", self.scratch.path().join("entry.yaml"));
        self.entry = Some(Process::start("laneway-entry", command, &self.scratch.path().join("entry.log"))?);
        Ok(())
    }

    /// Waits until the sidecar of a pod says that it is ready.
    pub fn await_ready(&mut self, name: &str) -> Result<()> {
        let (index, _) = self.find(name)?;
        let address = if self.plan.redirect { IpAddr::from([127, 0, 0, 1]) } else { self.address_of(index) };
        let url = format!("http://{}/ready", SocketAddr::new(address, contract::PORT_STATUS));
        let Some(mut sidecar) = self.pod(name)?.sidecar.take() else { bail!("pod `{name}` has no sidecar") };
        let ready = sidecar.wait_until(READY_TIMEOUT, "ready", || self.answers(&url, name));
        self.pod(name)?.sidecar = Some(sidecar);
        ready
    }

    /// A page of a sidecar's status port, as `metrics`.
    pub fn status_page(&self, pod: &str, page: &str) -> Result<String> {
        let (index, _) = self.find(pod)?;
        let address = if self.plan.redirect { IpAddr::from([127, 0, 0, 1]) } else { self.address_of(index) };
        let url = format!("http://{}/{page}", SocketAddr::new(address, contract::PORT_STATUS));
        let mut command = self.command(pod, "curl")?;
        command.args(["--silent", "--show-error", "--max-time", "5", &url]);
        run(command)
    }

    fn answers(&self, url: &str, host: &str) -> bool {
        let command = self.command(host, "curl").map(|mut command| {
            command.args(["--silent", "--fail", "--output", "/dev/null", "--max-time", "2", url]);
            command
        });
        command.and_then(run).is_ok()
    }

    fn log(&self, pod: &str, part: &str) -> PathBuf {
        self.scratch.path().join(format!("{pod}-{part}.log"))
    }
}

/// Writes a file so that nobody reads half of it.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).with_context(|| format!("write {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("write {}", path.display()))
}
