//! Where markers are seen: in what a sink has acknowledged, and in the objects of a folder.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::batch::SealedBatch;
use crate::sink::{Attempted, Sink, SinkProfile};

use super::follow::{Follow, Stage, rows_in};

/// A run's clock and its rows, which all parts of the run share.
#[derive(Debug)]
pub(super) struct RowTracker {
    pub(super) run: u32,
    started: Instant,
    follow: Mutex<Follow>,
}

impl RowTracker {
    /// Begins now.
    pub(super) fn begin(rows_of_each: u64) -> Arc<Self> {
        Arc::new(Self {
            run: rand::random(),
            started: Instant::now(),
            follow: Mutex::new(Follow::new(rows_of_each)),
        })
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The rows. Never held while waiting for anything.
    pub(super) fn follow(&self) -> MutexGuard<'_, Follow> {
        self.follow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, stage: Stage, text: &[u8], at: Duration) {
        let mut follow = self.follow();
        for row in rows_in(self.run, text) {
            follow.seen(stage, row, at);
        }
    }
}

/// A sink whose acknowledgements are looked at. Clones share it.
#[derive(Debug)]
pub(super) struct Marked<S> {
    sink: Arc<S>,
    tracker: Arc<RowTracker>,
}

impl<S> Clone for Marked<S> {
    fn clone(&self) -> Self {
        let (sink, tracker) = (Arc::clone(&self.sink), Arc::clone(&self.tracker));
        Self { sink, tracker }
    }
}

impl<S> Marked<S> {
    pub(super) fn new(sink: S, tracker: Arc<RowTracker>) -> Self {
        let sink = Arc::new(sink);
        Self { sink, tracker }
    }
}

impl<S: Sink> Sink for Marked<S> {
    fn profile(&self) -> SinkProfile {
        self.sink.profile()
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        let answer = self.sink.attempt(batch, records).await;
        let now = self.tracker.elapsed();
        if let Ok(refused) = &answer.result {
            for index in records.iter().filter(|index| !refused.contains(index)) {
                let record = batch.record(*index);
                self.tracker.see(Stage::Acknowledged, record, now);
            }
        }
        answer
    }
}

/// How often the folder is looked at: what the times of objects are exact to.
const LOOK: Duration = Duration::from_millis(20);

/// Looks at each object of a folder once, in a thread of its own, because reading objects would
/// keep others waiting.
#[derive(Debug)]
pub(super) struct FolderWatch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl FolderWatch {
    pub(super) fn start(folder: &Path, tracker: Arc<RowTracker>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let folder = folder.to_owned();
        let thread = std::thread::spawn(move || {
            let mut known = HashSet::new();
            let mut is_last = false;
            while !is_last {
                is_last = stopped.recv_timeout(LOOK) != Err(mpsc::RecvTimeoutError::Timeout);
                look(&folder, &mut known, &tracker);
            }
        });
        Self { stop, thread }
    }

    /// Looks a last time. All objects of now are in the tracker afterwards.
    pub(super) fn finish(self) {
        // If the thread is gone, there is nobody to tell.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

fn look(folder: &Path, known: &mut HashSet<PathBuf>, tracker: &RowTracker) {
    let mut objects = Vec::new();
    objects_below(folder, &mut objects);
    objects.retain(|path| !known.contains(path));
    let now = tracker.elapsed();
    for path in objects {
        // An object appears whole; one that cannot be read now is looked at again.
        if let Ok(text) = unpacked(&path) {
            tracker.see(Stage::OnDisk, &text, now);
            known.insert(path);
        }
    }
}

/// Folders that cannot be read yet have nothing to show. What begins with a dot is unfinished.
fn objects_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            objects_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "gz") {
            found.push(path);
        }
    }
}

fn unpacked(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(File::open(path)?).read_to_end(&mut text)?;
    Ok(text)
}
