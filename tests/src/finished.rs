//! Commands that have run to their end.

use std::process::{Command, ExitStatus};

/// What a command said before it ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub trait Finish {
    fn finish(&mut self) -> Finished;
}

impl Finish for Command {
    fn finish(&mut self) -> Finished {
        let output = self.output().expect("the app can be run");
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Finished {
    /// Everything it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails unless it succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Finished {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    /// Fails unless it refused, and said all these words.
    #[track_caller]
    pub fn expect_refusal(self, words: &[&str]) -> Finished {
        assert!(
            !self.status.success(),
            "it should have been refused: {self:#?}"
        );
        for word in words {
            assert!(
                self.said().contains(word),
                "{word:?} is not said: {self:#?}"
            );
        }
        self
    }
}
