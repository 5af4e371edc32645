//! A laneway-control without a mesh, on free ports of loopback: started, killed, started again where it was.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::admin::{
    ApplyBundleRequest, Bundle, DisableLaneRequest, EnableLaneRequest, Lane, LaneGroup, UpdateLaneRequest,
};
use laneway_proto::status::mesh_status_client::MeshStatusClient;
use laneway_proto::status::{GetRolloutRequest, Rollout};
use tonic::transport::Channel;

use crate::process::{Process, Scratch, program};

/// Longest wait for it to be ready: it may have ten thousand revisions to read.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for an answer of the API.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The group of all that is made here.
const GROUP: &str = "namespaces/default/laneGroups/shop";

/// One that runs, with a store and a folder of services of its own.
pub struct Control {
    process: Option<Process>,
    scratch: Scratch,
    discovery: SocketAddr,
    api: SocketAddr,
}

impl Control {
    /// Starts it, with no services.
    pub fn start(label: &str) -> Result<Control> {
        let scratch = Scratch::new(label)?;
        fs::create_dir(scratch.path().join("services")).context("make the folder of services")?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut control = Control { process: None, scratch, discovery: any, api: any };
        control.restart()?;
        Ok(control)
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) -> Result<()> {
        let directory = self.scratch.path();
        let ready = directory.join("ready.json");
        let _ = fs::remove_file(&ready);
        let mut command = Command::new(program("laneway-control")?);
        command
            .arg("--store")
            .arg(directory.join("laneway.db"))
            .arg("--discovery")
            .arg(directory.join("services"))
            .arg("--ready-file")
            .arg(&ready)
            .args(["--discovery-listen", &self.discovery.to_string(), "--api-listen", &self.api.to_string()])
            // What is measured may write as fast as it can.
            .args(["--writes-per-second", "100000"])
            // A line for each sidecar that comes and goes is not what is measured.
            .args(["--log", "warn"]);
        let mut process = Process::start("laneway-control", command, &directory.join("control.log"))?;
        process.wait_until(READY_TIMEOUT, "ready", || ready.exists())?;
        let text = fs::read_to_string(&ready).context("read the ready file")?;
        let addresses: serde_json::Value = serde_json::from_str(&text)?;
        let address = |name: &str| -> Result<SocketAddr> {
            Ok(addresses[name].as_str().context("the ready file names both addresses")?.parse()?)
        };
        (self.discovery, self.api) = (address("discovery")?, address("api")?);
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn id(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("it was killed")?.id())
    }

    /// Where sidecars connect.
    pub fn discovery(&self) -> SocketAddr {
        self.discovery
    }

    /// The same, as `--control` wants it.
    pub fn discovery_url(&self) -> String {
        format!("http://{}", self.discovery)
    }

    /// Replaces one of the files that say what runs.
    pub fn write_services(&self, file: &str, documents: &str) -> Result<()> {
        let folder = self.scratch.path().join("services");
        let part = folder.join(format!(".{file}.part"));
        fs::write(&part, documents).and_then(|()| fs::rename(&part, folder.join(file))).context("write services")
    }

    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    pub fn log_file(&self) -> PathBuf {
        self.scratch.path().join("control.log")
    }

    pub async fn admin(&self) -> Result<Admin> {
        Admin::connect(format!("http://{}", self.api)).await
    }
}

/// Writes of one user.
#[derive(Clone)]
pub struct Admin {
    lanes: LaneAdminClient<Channel>,
    status: MeshStatusClient<Channel>,
}

/// The resource name of a lane that is made here.
pub fn lane_name(id: &str) -> String {
    format!("{GROUP}/lanes/{id}")
}

fn lane(id: &str) -> Lane {
    Lane { name: lane_name(id), tag: id.to_owned(), enabled: Some(true), ..Lane::default() }
}

impl Admin {
    pub async fn connect(url: String) -> Result<Admin> {
        let channel = Channel::from_shared(url)?.timeout(CALL_TIMEOUT).connect().await;
        let channel = channel.context("reach the control plane")?;
        Ok(Admin { lanes: LaneAdminClient::new(channel.clone()), status: MeshStatusClient::new(channel) })
    }

    /// A group of these services, and these lanes in it, switched on.
    pub async fn apply(&mut self, services: &[&str], lanes: &[&str]) -> Result<()> {
        let group = LaneGroup {
            name: GROUP.to_owned(),
            services: services.iter().map(|service| (*service).to_owned()).collect(),
            ..LaneGroup::default()
        };
        let lane =
            |id: &&str| Lane { name: lane_name(id), tag: (*id).to_owned(), enabled: Some(true), ..Lane::default() };
        let bundle = Bundle { lane_groups: vec![group], lanes: lanes.iter().map(lane).collect(), ..Bundle::default() };
        let request = ApplyBundleRequest { bundle: Some(bundle), ..ApplyBundleRequest::default() };
        self.lanes.apply_bundle(request).await.context("apply lanes")?;
        Ok(())
    }

    /// Commits another priority of a lane, and says as which revision.
    pub async fn set_priority(&mut self, id: &str, priority: i32) -> Result<i64> {
        let lane = Lane { priority, ..lane(id) };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["*".to_owned()] });
        let request = UpdateLaneRequest { lane: Some(lane), update_mask, ..UpdateLaneRequest::default() };
        Ok(self.lanes.update_lane(request).await.context("update a lane")?.into_inner().revision)
    }

    /// Switches a lane, and waits until every sidecar has answered.
    pub async fn switch(&mut self, id: &str, on: bool, wait: Duration) -> Result<Rollout> {
        let (name, wait_timeout) = (lane_name(id), Some(wait.try_into()?));
        let rollout = if on {
            let request = EnableLaneRequest { name, wait_timeout, ..Default::default() };
            self.lanes.enable_lane(request).await.context("enable a lane")?.into_inner().rollout
        } else {
            let request = DisableLaneRequest { name, wait_timeout, ..Default::default() };
            self.lanes.disable_lane(request).await.context("disable a lane")?.into_inner().rollout
        };
        rollout.context("the answer has no rollout")
    }

    /// Waits until every sidecar has what a lane was at this revision, or later.
    pub async fn await_rollout(&mut self, id: &str, revision: i64, deadline: Duration) -> Result<()> {
        let end = std::time::Instant::now() + deadline;
        loop {
            let rollout = self.rollout(id).await?;
            if rollout.revision >= revision && rollout.done {
                return Ok(());
            }
            ensure!(std::time::Instant::now() < end, "not everywhere after {deadline:?}: {rollout:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Who has the version of a lane that was published last.
    pub async fn rollout(&mut self, id: &str) -> Result<Rollout> {
        let request = GetRolloutRequest { name: lane_name(id), ..GetRolloutRequest::default() };
        Ok(self.status.get_rollout(request).await.context("ask for the rollout")?.into_inner())
    }
}
