//! What is running: the shop's database, the simulator and the agent.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::hydrant::{Hydrant, STREAM};
use crate::process::{Guard, Process};
use crate::shop::{Login, Shop};
use crate::short;

/// How long a process may take to stop in good order.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// All that runs, in the order in which it must end.
#[derive(Debug)]
pub(crate) struct Stage {
    agent: Process,
    simulator: Process,
    guard: Guard,
    /// The database.
    pub(crate) shop: Shop,
    login: Login,
    /// Where `hydrant` works.
    pub(crate) hydrant: Hydrant,
}

impl Stage {
    /// Starts everything, and says so. No sale is inserted before the agent is ready.
    pub(crate) async fn set(project: &Path, data: &Path) -> Result<Self> {
        let hydrant = Hydrant::new(data)?;
        let mut shop = Shop::open(project).await?;
        println!("   MySQL      {}", shop.description().await?);
        let login = shop.set_up().await?;
        println!("              with shop.Sales, a generator of sales and a user from sql/");

        let guard = Guard::new(data)?;
        // Objects are delivered every second, so that there is something to see.
        let stream = format!("{STREAM}=CDC/");
        let options = ["--stream", &stream, "--buffer-interval=1"];
        let started = hydrant.start_simulator(&guard, "simulator", &options);
        let (simulator, endpoint) = started.await?;
        println!("   simulator  at {endpoint}, plays Amazon Data Firehose and S3");

        hydrant.configure(&login, &endpoint)?;
        let mut agent = hydrant.start_agent(&guard, &login)?;
        hydrant.wait_for_agent(&mut agent).await?;
        let config = short(&hydrant.config());
        println!(
            "   agent      hydrant cdc --config {config}, process {}",
            agent.id()
        );
        Ok(Self {
            agent,
            simulator,
            guard,
            shop,
            login,
            hydrant,
        })
    }

    /// The agent's process id.
    pub(crate) fn agent_id(&self) -> u32 {
        self.agent.id()
    }

    /// The end of the agent's log.
    pub(crate) fn agent_log_tail(&self) -> String {
        self.agent.log_tail()
    }

    /// Fails if the simulator has ended, or the agent although it should be alive.
    pub(crate) fn ensure_running(&mut self, agent_is_alive: bool) -> Result<()> {
        self.simulator.ensure_running()?;
        if agent_is_alive {
            self.agent.ensure_running()?;
        }
        Ok(())
    }

    /// Kills the agent with SIGKILL.
    pub(crate) fn kill_agent(&mut self) -> Result<()> {
        self.agent.kill9()
    }

    /// Starts another agent in place of the killed one.
    pub(crate) fn restart_agent(&mut self) -> Result<()> {
        self.agent = self.hydrant.start_agent(&self.guard, &self.login)?;
        Ok(())
    }

    /// Stops agent and simulator in good order; the simulator then delivers what it still has.
    pub(crate) async fn strike(self) -> Result<Shop> {
        self.agent.terminate(STOP_LIMIT).await?;
        self.simulator.terminate(STOP_LIMIT).await?;
        Ok(self.shop)
    }
}
