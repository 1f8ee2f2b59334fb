//! The processes under demonstration, `hydrant sim`, `hydrant cdc` and `hydrant metrics`: how they are told what to do
//! and how to see that they are ready.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::process::{Guard, Process};
use crate::shop::Login;

/// The stream of the blog.
pub(crate) const STREAM: &str = "AuroraChangesToS3";

/// How long each may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Where `hydrant` is and where it works.
#[derive(Debug)]
pub(crate) struct Hydrant {
    program: PathBuf,
    data: PathBuf,
}

impl Hydrant {
    /// Takes the program that HYDRANT_BIN names, or else the one that was built beside the demo.
    pub(crate) fn new(data: &Path) -> Result<Self> {
        let program = match env::var_os("HYDRANT_BIN") {
            Some(path) => std::path::absolute(path)?,
            None => env::current_exe()?
                .ancestors()
                .nth(2)
                .context("the demo is in no folder")?
                .join("hydrant"),
        };
        ensure!(
            program.is_file(),
            "there is no program {}: build it with `cargo build`, or name it in HYDRANT_BIN",
            program.display()
        );
        let data = data.to_owned();
        Ok(Self { program, data })
    }

    /// Where the simulator puts objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.data.join("objects")
    }

    /// The agent's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.data.join("hydrant.toml")
    }

    /// The agent's checkpoint.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.data.join("checkpoint.json")
    }

    /// The poller's configuration.
    pub(crate) fn metrics_config(&self) -> PathBuf {
        self.data.join("metrics.toml")
    }

    /// What the poller says.
    pub(crate) fn poller_log(&self) -> PathBuf {
        self.data.join("poller.log")
    }

    /// Starts a simulator on a free port with these options, and gives its URL. `name` tells it from
    /// others.
    pub(crate) async fn start_simulator(
        &self,
        guard: &Guard,
        name: &'static str,
        options: &[&str],
    ) -> Result<(Process, String)> {
        let objects = self.objects();
        let mut arguments = vec!["sim", "--listen=127.0.0.1:0"];
        arguments.extend(["--data", path_text(&objects)?]);
        arguments.extend(options);
        let log = self.data.join(format!("{name}.log"));
        let mut process = Process::start(guard, name, &self.program, &arguments, &[], log)?;
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            process.ensure_running()?;
            if let Some(url) = listening_at(&process.said()) {
                return Ok((process, url));
            }
            let late = || format!("the simulator is not ready; {}", process.log_tail());
            ensure!(Instant::now() < deadline, late());
            sleep(POLL).await;
        }
    }

    /// Writes the agent's configuration.
    pub(crate) fn configure(&self, login: &Login, endpoint: &str) -> Result<()> {
        let Login { url, tls, .. } = login;
        let checkpoint = self.checkpoint();
        let text = format!(
            r#"# Written by `make demo`.
[source]
url = "{url}"
password = "env:{PASSWORD}"
tls = "{tls}"
start = "latest"                  # The agent is started before the first sale.

[[table]]
name = "shop.Sales"
columns = ["ItemID", "Category", "Price", "Quantity", "OrderDate", "DestinationState", "ShippingType", "Referral"]
metadata = ["position", "ordinal"]  # What readers de-duplicate on.

[sink]
stream = "{STREAM}"
region = "us-east-1"
endpoint = "{endpoint}"           # The simulator. Leave it out for AWS.
flush_interval = "250ms"

[checkpoint]
path = "file:{}"
"#,
            checkpoint.display()
        );
        let path = self.config();
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts the agent. It is ready once its checkpoint exists: see [`Hydrant::wait_for_agent`].
    pub(crate) fn start_agent(&self, guard: &Guard, login: &Login) -> Result<Process> {
        let config = self.config();
        let arguments = ["cdc", "--config", path_text(&config)?];
        let variables = [
            (PASSWORD, login.password.as_str()),
            ("AWS_ACCESS_KEY_ID", "demo"),
            ("AWS_SECRET_ACCESS_KEY", "demo"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let log = self.data.join("agent.log");
        Process::start(guard, "agent", &self.program, &arguments, &variables, log)
    }

    /// Starts the poller, with the simulator as its AWS.
    pub(crate) fn start_poller(&self, guard: &Guard, endpoint: &str) -> Result<Process> {
        let config = self.metrics_config();
        let arguments = ["metrics", "--config", path_text(&config)?];
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "demo"),
            ("AWS_SECRET_ACCESS_KEY", "demo"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let log = self.poller_log();
        Process::start(guard, "poller", &self.program, &arguments, &variables, log)
    }

    /// Waits until the agent has stored where it starts: from then on it misses nothing.
    pub(crate) async fn wait_for_agent(&self, agent: &mut Process) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        while !self.checkpoint().exists() {
            agent.ensure_running()?;
            let late = || format!("the agent is not ready; {}", agent.log_tail());
            ensure!(Instant::now() < deadline, late());
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// The variable that the agent's password is in.
const PASSWORD: &str = "DEMO_PASSWORD";

/// The URL in the line with which the simulator says that it listens.
fn listening_at(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("listens on ")?;
    let (address, _) = rest.split_once(';')?;
    Some(format!("http://{address}"))
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
