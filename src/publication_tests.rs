//! Every interleaving of a small world, with the state machine that the agent runs in its middle.
//!
//! A binlog of 3 transactions with 4 rows of tables A and B; a second server has the last two in the other order. A checkpoint
//! that is swapped as a whole. A store of multipart uploads and objects. Two agents, each with one request at a time, which crash, are
//! suspended and start beside each other. A loader that removes objects. A request is applied with its answer delivered or lost,
//! or long after its sender died, or never. Where to cut a range is a free choice.
//!
//! Checked in each state: no row is in two objects that were ever visible, no key ever had two contents, and what the checkpoint claims and
//! does not name was visible. Checked at the end: from each state the end can be reached, in which all rows are visible and nothing is sealed. That is
//! not what model checkers of Rust offer, so the search is written here. Each wrong variant must lead to a state that breaks one of these.

use std::collections::{HashMap, VecDeque};

use super::model::{
    Agent, Checkpoint, MOST_IN_NET, Outcome, RIGHT, Range, Request, Variant, all_rows,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    checkpoint: Checkpoint,
    /// All objects that were ever visible.
    ever: Vec<Range>,
    visible: Vec<(u8, u8)>,
    uploads: Vec<Range>,
    net: Vec<Request>,
    agents: [Option<Agent>; 2],
    crashes: u8,
    suspensions: u8,
    /// Starts beside a running agent.
    intrusions: u8,
    failovers: u8,
    server: usize,
}

impl World {
    fn new(variant: &Variant) -> Self {
        Self {
            checkpoint: Checkpoint::default(),
            ever: Vec::new(),
            visible: Vec::new(),
            uploads: Vec::new(),
            net: Vec::new(),
            agents: [None, None],
            crashes: variant.crashes,
            suspensions: variant.suspensions,
            intrusions: variant.intrusions,
            failovers: variant.failovers,
            server: 0,
        }
    }

    fn with_agent(&self, index: usize, agent: Option<Agent>) -> Self {
        let mut world = self.clone();
        world.agents[index] = agent;
        world
    }

    /// The agent sends a request.
    fn with_request(&self, index: usize, agent: Agent, request: Request) -> Self {
        let mut world = self.with_agent(index, Some(agent));
        world.net.push(request);
        world
    }

    /// The store applies a request.
    fn apply(&mut self, variant: &Variant, request: &Request) -> Result<Outcome, String> {
        match request {
            Request::Swap(old, own) => {
                if self.checkpoint == *old || !variant.is_compared {
                    self.checkpoint = own.clone();
                    return Ok(Outcome::Done);
                }
                // One's own, after a lost answer.
                Ok(if self.checkpoint == *own {
                    Outcome::Done
                } else {
                    Outcome::Stop
                })
            }
            Request::Publish(range) if !self.uploads.contains(range) => {
                if variant.gone_is_published {
                    return Ok(Outcome::Done);
                }
                self.uploads.push(*range);
                Ok(Outcome::Again)
            }
            Request::Publish(range) if variant.is_guarded && self.visible.contains(&range.key) => {
                let is_own = self.ever.iter().any(|it| it == range);
                Ok(if is_own { Outcome::Done } else { Outcome::Stop })
            }
            Request::Publish(range) => {
                for other in &self.ever {
                    if other.key == range.key && other.rows != range.rows {
                        return Err(format!("two contents of {:?}", range.key));
                    }
                    if other.rows & range.rows != 0 {
                        return Err(format!("rows {:04b} twice", other.rows & range.rows));
                    }
                }
                self.ever.push(*range);
                self.visible.push(range.key);
                self.uploads.retain(|upload| upload != range);
                Ok(Outcome::Done)
            }
        }
    }

    /// All that can happen next.
    fn next(&self, variant: &Variant) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        for (index, _) in self
            .visible
            .iter()
            .enumerate()
            .filter(|_| variant.is_guarded)
        {
            let mut world = self.clone();
            world.visible.remove(index);
            next.push(world);
        }
        if self.failovers > 0 {
            let mut world = self.clone();
            (world.failovers, world.server) = (self.failovers - 1, 1);
            next.push(world);
        }
        for (number, request) in self.net.iter().enumerate() {
            let mut applied = self.clone();
            applied.net.remove(number);
            let outcome = applied.apply(variant, request)?;
            for (index, agent) in self.agents.iter().enumerate() {
                if let Some(agent) = agent
                    .as_ref()
                    .filter(|it| it.waits_for.as_ref() == Some(request))
                {
                    next.push(applied.with_agent(index, agent.clone().answered(request, &outcome)));
                }
            }
            // The answer is lost.
            next.push(applied);
        }
        for (index, agent) in self.agents.iter().enumerate() {
            match agent {
                None => next.extend(self.started(variant, index)),
                Some(agent) => self.acted(variant, index, agent, &mut next),
            }
        }
        Ok(next)
    }

    fn started(&self, variant: &Variant, index: usize) -> Option<Self> {
        let is_free = self.agents.iter().flatten().all(|agent| agent.is_suspended);
        if self.net.len() >= MOST_IN_NET || !(is_free || self.intrusions > 0) {
            return None;
        }
        let in_net = self.net.iter().filter_map(|request| match request {
            Request::Swap(_, own) => Some(own.epoch),
            Request::Publish(_) => None,
        });
        let running = self.agents.iter().flatten().map(Agent::epoch);
        let others: Vec<_> = in_net.chain(running).collect();
        let agent = Agent::start(variant, &self.checkpoint, self.server, &others);
        let request = agent.waits_for.clone()?;
        let mut world = self.with_request(index, agent, request);
        world.intrusions -= u8::from(!is_free);
        Some(world)
    }

    /// What an agent can do, or suffer.
    #[expect(clippy::too_many_lines, reason = "a list of all that there is")]
    fn acted(&self, variant: &Variant, index: usize, agent: &Agent, next: &mut Vec<Self>) {
        if agent.is_suspended {
            let resumed = Agent {
                is_suspended: false,
                ..agent.clone()
            };
            next.push(self.with_agent(index, Some(resumed)));
            return;
        }
        if self.crashes > 0 {
            let mut world = self.with_agent(index, None);
            world.crashes -= 1;
            next.push(world);
        }
        if self.suspensions > 0 {
            let suspended = Agent {
                is_suspended: true,
                ..agent.clone()
            };
            let mut world = self.with_agent(index, Some(suspended));
            world.suspensions -= 1;
            next.push(world);
        }
        if let Some(request) = &agent.waits_for {
            if self.net.contains(request) {
                return;
            }
            match request {
                Request::Publish(_) => {
                    let given_up = Agent {
                        waits_for: None,
                        ..agent.clone()
                    };
                    next.push(self.with_agent(index, Some(given_up)));
                }
                Request::Swap(..) if self.net.len() < MOST_IN_NET => {
                    next.push(self.with_request(index, agent.clone(), request.clone()));
                }
                Request::Swap(..) => {}
            }
            return;
        }
        let Some(view) = &agent.checkpoint else {
            return;
        };
        if variant.aborts_unknown {
            let mut world = self.clone();
            let named: Vec<_> = agent.publication.named().collect();
            world.uploads.retain(|upload| named.contains(&upload));
            next.push(world);
        }
        if self.net.len() >= MOST_IN_NET {
            return;
        }
        let early = agent.early.iter().filter(|(_, is_visible)| !is_visible);
        let early = early.map(|(range, _)| range);
        for range in agent.publication.named().chain(early) {
            let request = Request::Publish(*range);
            let waiting = Agent {
                waits_for: Some(request.clone()),
                ..agent.clone()
            };
            next.push(self.with_request(index, waiting, request));
        }
        for range in agent.cuts(variant) {
            let mut cutting = agent.clone();
            let mut uploaded = self.clone();
            uploaded.uploads.push(range);
            if variant.sealed_before {
                cutting.publication.staged(range);
                if let Some((waiting, request)) = cutting.swap(variant, 0) {
                    next.push(uploaded.with_request(index, waiting, request));
                }
            } else {
                cutting.early.push((range, false));
                next.push(uploaded.with_agent(index, Some(cutting)));
            }
        }
        let visible = agent.early.iter().filter(|(_, is_visible)| *is_visible);
        let more = visible.fold(0, |all, (range, _)| all | range.rows);
        let has_settled = agent.publication.named().count() < view.sealed.len();
        if (has_settled || more != 0)
            && let Some((waiting, request)) = agent.clone().swap(variant, more)
        {
            next.push(self.with_request(index, waiting, request));
        }
    }

    /// The same world for all later purposes, so that there are fewer of them.
    fn canonical(mut self, variant: &Variant) -> Self {
        let stored = &self.checkpoint;
        if variant.is_compared {
            // What was stored never comes again, so a swap from something older is refused for ever.
            for agent in &mut self.agents {
                agent.take_if(|agent| match &agent.waits_for {
                    Some(Request::Swap(old, own)) => old != stored && own != stored,
                    Some(Request::Publish(_)) | None => false,
                });
            }
        }
        let waited: Vec<_> = self
            .agents
            .iter()
            .flatten()
            .filter_map(|it| it.waits_for.clone())
            .collect();
        self.net.retain(|request| {
            waited.contains(request)
                || match request {
                    Request::Swap(old, _) => old == stored || !variant.is_compared,
                    Request::Publish(range) => self.uploads.contains(range),
                }
        });
        let requests = self.net.iter().chain(&waited);
        let named = requests.flat_map(|request| match request {
            Request::Swap(old, own) => [old.sealed.as_slice(), own.sealed.as_slice()].concat(),
            Request::Publish(range) => vec![*range],
        });
        let agents = self.agents.iter().flatten();
        let own = agents.flat_map(|agent| {
            let early = agent.early.iter().map(|(range, _)| range);
            agent.publication.named().chain(early).copied()
        });
        let used: Vec<Range> = named
            .chain(own)
            .chain(stored.sealed.iter().copied())
            .collect();
        // Uploads that nobody can complete.
        self.uploads.retain(|upload| used.contains(upload));
        self.uploads.sort_unstable();
        self.ever.sort_unstable();
        self.visible.sort_unstable();
        self.net.sort_unstable();
        if !variant.is_guarded {
            self.visible.clear();
        }
        self
    }

    /// Whether it is an end.
    fn check(&self, variant: &Variant) -> Result<bool, String> {
        let seen = self.ever.iter().fold(0, |all, range| all | range.rows);
        let sealed = self
            .checkpoint
            .sealed
            .iter()
            .fold(0, |all, range| all | range.rows);
        let claimed = self.checkpoint.covered | self.checkpoint.mark;
        let lost = claimed & all_rows(variant) & !sealed & !seen;
        if lost != 0 {
            return Err(format!("rows {lost:04b} lost"));
        }
        let all = all_rows(variant);
        Ok(self.checkpoint.covered & all == all && self.checkpoint.sealed.is_empty())
    }
}

/// Explores everything. Gives the number of states, or what is wrong.
fn explore(variant: &Variant) -> Result<usize, String> {
    let first = World::new(variant);
    let mut numbers = HashMap::from([(first.clone(), 0)]);
    let mut left = VecDeque::from([first]);
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(world) = left.pop_front() {
        for next in world.next(variant)? {
            let next = next.canonical(variant);
            if let Some(known) = numbers.get(&next) {
                before[*known].push(at);
                continue;
            }
            let number = before.len();
            if next.check(variant)? {
                ends.push(number);
            }
            before.push(vec![at]);
            numbers.insert(next.clone(), number);
            left.push_back(next);
        }
        at += 1;
    }
    let mut is_good = vec![false; before.len()];
    while let Some(end) = ends.pop() {
        if !std::mem::replace(&mut is_good[end], true) {
            ends.extend(&before[end]);
        }
    }
    if is_good.iter().all(|is_good| *is_good) {
        Ok(before.len())
    } else {
        Err("the end cannot be reached".to_owned())
    }
}

#[test]
fn each_row_is_visible_once_whatever_happens() {
    for (name, variant) in [
        (
            "crash",
            Variant {
                has_all_rows: true,
                ..RIGHT
            },
        ),
        (
            "two crashes",
            Variant {
                is_guarded: false,
                crashes: 2,
                ..RIGHT
            },
        ),
        (
            "crash and suspension",
            Variant {
                is_guarded: false,
                suspensions: 1,
                ..RIGHT
            },
        ),
        (
            "two at once",
            Variant {
                is_guarded: false,
                crashes: 0,
                intrusions: 1,
                has_all_rows: true,
                ..RIGHT
            },
        ),
        (
            "failover",
            Variant {
                is_guarded: false,
                failovers: 1,
                has_all_rows: true,
                ..RIGHT
            },
        ),
        (
            "by position, one server",
            Variant {
                by_gtid: false,
                ..RIGHT
            },
        ),
    ] {
        match explore(&variant) {
            Ok(states) => assert!(states > 10_000, "{name}: {states}"),
            Err(why) => panic!("{name}: {why}"),
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_short_cut_loses_or_doubles_rows() {
    for (name, how, variant) in [
        (
            "published, then sealed",
            "twice",
            Variant {
                sealed_before: false,
                ..RIGHT
            },
        ),
        (
            "NoSuchUpload: upload again",
            "twice",
            Variant {
                gone_is_published: false,
                crashes: 0,
                ..RIGHT
            },
        ),
        (
            "unknown uploads aborted",
            "lost",
            Variant {
                aborts_unknown: true,
                suspensions: 1,
                ..RIGHT
            },
        ),
        (
            "not compared",
            "twice",
            Variant {
                is_compared: false,
                suspensions: 1,
                ..RIGHT
            },
        ),
        (
            "no random number",
            "twice",
            Variant {
                has_random_number: false,
                crashes: 0,
                intrusions: 1,
                ..RIGHT
            },
        ),
        (
            "one mark, no prefixes",
            "twice",
            Variant {
                has_prefixes: false,
                ..RIGHT
            },
        ),
        (
            "mark of the fastest table",
            "lost",
            Variant {
                waits_for_slowest: false,
                ..RIGHT
            },
        ),
        (
            "by position, failover",
            "lost",
            Variant {
                by_gtid: false,
                failovers: 1,
                has_all_rows: true,
                ..RIGHT
            },
        ),
    ] {
        let wrong = explore(&variant).unwrap_err();
        assert!(wrong.contains(how), "{name}: {wrong}");
    }
}
