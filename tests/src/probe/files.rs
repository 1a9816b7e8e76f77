//! Files that the probe sends.

use moorline::Result;

use super::order::Order;

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &["file", "file-part", "files"];

/// Carries out one of them.
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order { session, rest, .. } = *order;
    Ok(Some(match order.command {
        "file" => match session.send_file(rest, ..).await {
            Ok(()) => return Ok(None),
            Err(error) => error.to_string(),
        },
        "file-part" => {
            let (from, to): (u64, u64) = (order.word().parse()?, order.word().parse()?);
            match session.send_file(order.word(), from..to).await {
                Ok(()) => return Ok(None),
                Err(error) => error.to_string(),
            }
        }
        "files" => {
            let count: u32 = order.word().parse()?;
            let path = order.word();
            for number in 0..count {
                session.send(format!("before {number}")).await?;
                session.send_file(path, ..).await?;
            }
            "all".to_owned()
        }
        _ => return Err("an unknown command".into()),
    }))
}
