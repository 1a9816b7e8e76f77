//! Commands that close sessions.

use moorline::{Result, Session};

use super::Probe;
use super::answers::{milliseconds, outcome, told};

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "close",
    "close-twice",
    "close-code",
    "close-now",
    "close-then-now",
    "end",
    "end-twice-then-now",
];

/// Carries out one of them.
pub(super) async fn obey(
    probe: &Probe,
    session: &Session,
    command: &str,
    rest: &str,
) -> Result<Option<String>> {
    let context = probe.context();
    let mut words = rest.split(' ');
    let mut word = || words.next().unwrap_or_default();
    Ok(Some(match command {
        "close" => return told(session.close()),
        "close-twice" => {
            session.close()?;
            probe.note(format_args!("second close {:?}", session.close()));
            return Ok(None);
        }
        "close-code" => return told(session.close_with(word().parse()?)),
        "close-now" => return told(session.close_now()),
        "close-then-now" => {
            session.close()?;
            probe.note(format_args!("forced close {:?}", session.close_now()));
            return Ok(None);
        }
        "end" => outcome(context.session(word().parse()?).close()),
        "end-twice-then-now" => {
            let other = context.session(word().parse()?);
            other.close()?;
            tokio::time::sleep(milliseconds(word())?).await;
            let second = other.close();
            format!("{second:?} {:?}", other.close_now())
        }
        _ => return Err("an unknown command".into()),
    }))
}
