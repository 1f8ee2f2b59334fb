//! The moments at which an agent is killed, as they can be seen from outside: calls of a service, changes of files, bytes of
//! the binlog's connection. No code of the agent's knows of them.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::setup::file_watch::{FileChange, FileWatch};
use crate::setup::front::{Call, Step, Trap};
use crate::setup::proxy::Fault;

use super::scene::{Scene, Sink};

/// How long to wait for a moment before the agent is killed anyway.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often to look for it.
const POLL: Duration = Duration::from_micros(100);
/// The longest time between a moment and the kill.
const MOST_DELAY_US: u64 = 3_000;
/// Calls or changes of a kind that are let pass at most, and bytes of the binlog's connections.
const MOST_PASSED: u32 = 4;
const MOST_BYTES: usize = 400_000;
/// Messages to the server while the agent starts, about.
const TURNS: u32 = 25;

/// Where a file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Folder {
    /// The checkpoint's.
    Checkpoint,
    /// That of staged objects.
    Unfinished,
}

/// When an agent is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// Whenever it is.
    Any,
    /// When it has got so much of some answer of the server; nothing follows.
    Answer,
    /// When it has got so much of the binlog.
    Binlog,
    Call(Call, Step),
    File(Folder, FileChange),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The moments of a sink. What stands twice comes twice as often.
pub(super) fn moments(sink: Sink) -> Vec<Moment> {
    use Call::{Complete, CreateUpload, PutRecords, ReadCheckpoint, UploadPart, WriteCheckpoint};
    use Folder::{Checkpoint, Unfinished};
    use Step::{Answered, Asked, Done};
    let mut moments = vec![Moment::Any, Moment::Any, Moment::Answer, Moment::Binlog];
    let calls: &[(Call, Step)] = match sink {
        Sink::Dir => &[],
        Sink::S3 => &[
            (CreateUpload, Asked),
            (CreateUpload, Done),
            (UploadPart, Asked),
            (UploadPart, Done),
            (Complete, Asked),
            (Complete, Done),
            (Complete, Done),
            (Complete, Answered),
        ],
        Sink::S3Alone => &[
            (CreateUpload, Done),
            (UploadPart, Done),
            (Complete, Asked),
            (Complete, Done),
            (Complete, Done),
            (Complete, Answered),
            (ReadCheckpoint, Done),
            (WriteCheckpoint, Asked),
            (WriteCheckpoint, Done),
            (WriteCheckpoint, Done),
            (WriteCheckpoint, Answered),
        ],
        Sink::Firehose => &[
            (PutRecords, Asked),
            (PutRecords, Done),
            (PutRecords, Done),
            (PutRecords, Answered),
        ],
    };
    moments.extend(calls.iter().map(|(call, step)| Moment::Call(*call, *step)));
    let files: &[(Folder, FileChange)] = match sink {
        Sink::Dir => &[
            (Unfinished, FileChange::Created),
            (Unfinished, FileChange::Written),
            (Checkpoint, FileChange::Created),
            (Checkpoint, FileChange::Arrived),
            (Checkpoint, FileChange::Arrived),
            (Unfinished, FileChange::Left),
            (Unfinished, FileChange::Left),
        ],
        Sink::S3 | Sink::Firehose => &[
            (Checkpoint, FileChange::Created),
            (Checkpoint, FileChange::Arrived),
        ],
        Sink::S3Alone => &[],
    };
    moments.extend(
        files
            .iter()
            .map(|(folder, change)| Moment::File(*folder, *change)),
    );
    moments
}

/// A moment that is waited for.
pub(super) struct Awaited<'a> {
    scene: &'a Scene,
    moment: Moment,
    /// For those that only time tells.
    at: Instant,
    watch: Option<FileWatch>,
    /// Changes that are still to come.
    left: u32,
}

impl<'a> Awaited<'a> {
    /// To be called before the agent is started.
    pub(super) fn new(scene: &'a Scene, moment: Moment, rng: &mut StdRng) -> Result<Self> {
        let number = rng.random_range(1..=MOST_PASSED);
        let mut watch = None;
        match moment {
            Moment::Any => {}
            Moment::Answer => {
                let (turn, after) = (rng.random_range(1..TURNS), rng.random_range(0..100));
                scene.proxy.arm(Fault::Freeze, turn, after);
            }
            Moment::Binlog => {
                let after = rng.random_range(0..MOST_BYTES);
                scene.proxy.arm_in_any_turn(Fault::Freeze, after);
            }
            Moment::Call(call, step) => scene.front()?.arm(Trap { call, number, step }),
            Moment::File(folder, change) => {
                let path = match folder {
                    Folder::Checkpoint => scene.workplace.path(""),
                    Folder::Unfinished => scene.workplace.path("data/.unfinished"),
                };
                fs::create_dir_all(&path)?;
                watch = Some(FileWatch::of(&path, change)?);
            }
        }
        Ok(Self {
            scene,
            moment,
            at: Instant::now() + Duration::from_millis(rng.random_range(20..900)),
            watch,
            left: number,
        })
    }

    fn has_come(&mut self) -> Result<bool> {
        Ok(match (self.moment, &self.watch) {
            (Moment::Any, _) => Instant::now() >= self.at,
            (Moment::Answer | Moment::Binlog, _) => !self.scene.proxy.is_armed(),
            (Moment::Call(..), _) => self.scene.front()?.is_sprung(),
            (Moment::File(folder, _), Some(watch)) => {
                let is_meant =
                    |name: &str| folder == Folder::Unfinished || name.starts_with("checkpoint");
                self.left = self.left.saturating_sub(watch.count(is_meant)?);
                self.left == 0
            }
            (Moment::File(..), None) => false,
        })
    }

    /// Waits for it, and then for as long as it takes to be a little late. `false` if it does not come, or if `is_over` says so.
    pub(super) fn wait(
        mut self,
        rng: &mut StdRng,
        mut is_over: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_come()? {
            if is_over()? || Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
        if rng.random_bool(0.7) {
            std::thread::sleep(Duration::from_micros(rng.random_range(0..MOST_DELAY_US)));
        }
        Ok(true)
    }
}
