//! What the user sees while it runs.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; nothing if that is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    drawn: Instant,
}

/// Often enough to look alive; the load thread draws itself, so not more often.
const REDRAW: Duration = Duration::from_millis(200);

impl Progress {
    /// `length` is what `set` counts up to.
    pub(super) fn new(is_shown: bool, stage: &'static str, length: u64) -> Self {
        let target = if is_shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template("  {prefix:<12} {wide_bar} {percent:>3} % {msg}")
            .expect("the template is valid: a test draws it");
        Self {
            bar: ProgressBar::with_draw_target(Some(length), target)
                .with_style(style)
                .with_prefix(stage),
            drawn: Instant::now(),
        }
    }

    /// Draws again if the last time is long enough ago.
    pub(super) fn set(&mut self, position: u64, message: impl FnOnce() -> String) {
        if self.bar.is_hidden() || self.drawn.elapsed() < REDRAW {
            return;
        }
        self.drawn = Instant::now();
        self.bar.set_message(message());
        self.bar.set_position(position);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() {
        Progress::new(false, "opening", 10).set(3, || unreachable!("it is hidden"));
    }
}
