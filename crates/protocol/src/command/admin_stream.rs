//! The stream between the process that serves `[admin]` and the supervisor: a line for each question and each answer.
//!
//! Several questions may be open at once, so that a long reload keeps no look waiting.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Request, Response};

/// Questions that the supervisor answers at once; it reads the next one when one of them has its last answer.
pub const MOST_QUESTIONS: usize = 32;

/// A question of the process that serves `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminQuestion {
    /// Its number, which the answers have.
    pub number: u64,
    /// What is asked for.
    pub request: Request,
    /// Who asks, with the token: what changes something needs the one in `token_file` of `[admin]`.
    #[serde(default)]
    pub shown: Option<ShownToken>,
}

/// The token that someone has shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownToken {
    /// As it was shown; `Debug` does not tell it.
    pub token: String,
    /// Where it came from.
    pub from: SocketAddr,
}

impl fmt::Debug for ShownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ShownToken");
        shown.field("from", &self.from).finish_non_exhaustive()
    }
}

/// An answer to one of these questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdminAnswer {
    /// The number of the question.
    pub number: u64,
    /// The answer; more follow unless it is the last one.
    pub response: Response,
    /// Why it was not even tried.
    #[serde(default)]
    pub denied: Option<Denied>,
}

/// Why something is not done for who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denied {
    /// `[admin]` has no token.
    ReadOnly,
    /// `[admin]` does not do this for anyone.
    NotOffered,
    /// No token was shown.
    NoToken,
    /// Another token was shown.
    WrongToken,
    /// Too many wrong tokens were shown.
    TooMany,
}

impl Denied {
    /// The reason, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ReadOnly => "[admin] has no `token_file`: it changes nothing",
            Self::NotOffered => "[admin] does not do that",
            Self::NoToken => "this needs the token of [admin]",
            Self::WrongToken => "this is not the token of [admin]",
            Self::TooMany => "too many wrong tokens were shown: wait some seconds",
        }
    }
}
