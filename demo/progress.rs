//! The one live line. Where there is no terminal, a plain line now and then.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line is printed.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// A line that tells how far the demo is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    plain_at: Instant,
}

impl Progress {
    /// Towards so many rows.
    pub(crate) fn new(row_count: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(row_count), ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("   {bar:20} {wide_msg}")
            .expect("the template is right")
            .progress_chars("█▌·");
        bar.set_style(style);
        let plain_at = Instant::now();
        Self { bar, plain_at }
    }

    /// Shows where things stand.
    pub(crate) fn show(&mut self, inserted: u64, delivered: u64, agent: &str) {
        let text = format!(
            "inserted {}, delivered {}, agent {agent}",
            HumanCount(inserted),
            HumanCount(delivered)
        );
        if !self.bar.is_hidden() {
            self.bar.set_position(delivered);
            self.bar.set_message(text);
        } else if self.plain_at <= Instant::now() {
            println!("   {text}");
            self.plain_at = Instant::now() + PLAIN_INTERVAL;
        }
    }

    /// Prints a line that stays.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| println!("   {line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
