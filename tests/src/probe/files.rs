//! Files that the probe sends.

use moorline::{Result, Session};

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &["file", "file-part", "files"];

/// Carries out one of them.
pub(super) async fn obey(session: &Session, command: &str, rest: &str) -> Result<Option<String>> {
    let mut words = rest.split(' ');
    let mut word = || words.next().unwrap_or_default();
    Ok(Some(match command {
        "file" => match session.send_file(rest, ..).await {
            Ok(()) => return Ok(None),
            Err(error) => error.to_string(),
        },
        "file-part" => {
            let (from, to): (u64, u64) = (word().parse()?, word().parse()?);
            match session.send_file(word(), from..to).await {
                Ok(()) => return Ok(None),
                Err(error) => error.to_string(),
            }
        }
        "files" => {
            let count: u32 = word().parse()?;
            let path = word();
            for number in 0..count {
                session.send(format!("before {number}")).await?;
                session.send_file(path, ..).await?;
            }
            "all".to_owned()
        }
        _ => return Err("an unknown command".into()),
    }))
}
