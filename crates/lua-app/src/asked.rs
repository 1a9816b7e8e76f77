//! What a service asks of the engine, and has to wait for.

use std::time::Duration;

use moorline_actor::Payload;
use moorline_lua::Plain;
use moorline_worker::app::{Context, SendError, SessionId};

use crate::cluster;

/// Values; or why there are none.
pub(crate) type Answer = Result<Vec<Plain>, String>;

/// One request.
pub(crate) enum Asked {
    /// A message to a session, once there is room.
    Send(SessionId, Message),
    /// A message to a group.
    Broadcast(Vec<u8>, Message),
    /// The ids of a group's members.
    Members(Vec<u8>),
    /// A reload.
    Reload,
    /// A request to a worker of a node.
    Call {
        node: Vec<u8>,
        slot: i64,
        /// Its bytes, and how long it may take.
        request: (Vec<u8>, Duration),
    },
}

/// What is sent.
pub(crate) struct Message {
    data: Vec<u8>,
    is_text: bool,
}

impl Asked {
    /// `None` if it is malformed.
    pub(crate) fn read(payload: &Payload) -> Option<Self> {
        let Payload::Bytes(bytes) = payload else {
            return None;
        };
        let mut values = Plain::unpack_all(bytes)?.into_iter();
        let Plain::Text(name) = values.next()? else {
            return None;
        };
        if name == b"call" {
            let [
                Plain::Text(node),
                Plain::Integer(slot),
                Plain::Text(request),
                Plain::Integer(seconds),
            ] = <[Plain; 4]>::try_from(values.collect::<Vec<_>>()).ok()?
            else {
                return None;
            };
            let within = Duration::from_secs(u64::try_from(seconds).ok()?);
            return Some(Self::Call {
                node,
                slot,
                request: (request, within),
            });
        }
        let (to, data, is_text) = (values.next(), values.next(), values.next());
        let message = match data {
            Some(Plain::Text(data)) => Some(Message {
                data,
                is_text: is_text == Some(Plain::Flag(true)),
            }),
            _ => None,
        };
        match (name.as_slice(), to) {
            (b"send", Some(Plain::Integer(id))) => {
                let session = SessionId::from(id.cast_unsigned());
                Some(Self::Send(session, message?))
            }
            (b"broadcast", Some(Plain::Text(group))) => Some(Self::Broadcast(group, message?)),
            (b"members", Some(Plain::Text(group))) => Some(Self::Members(group)),
            (b"reload", _) => Some(Self::Reload),
            _ => None,
        }
    }

    /// Waits for room, or for what is asked.
    pub(crate) async fn carry_out(self, context: &Context) -> Answer {
        match self {
            Self::Send(id, Message { data, is_text }) => {
                let session = context.session(id);
                sent(match is_text {
                    true => session.send_text(String::from_utf8_lossy(&data)).await,
                    false => session.send(data).await,
                })
            }
            Self::Broadcast(group, Message { data, is_text }) => {
                let group = context.group(group);
                sent(match is_text {
                    true => group.send_text(String::from_utf8_lossy(&data)).await,
                    false => group.send(data).await,
                })
            }
            Self::Members(group) => {
                let members = context.group(group).members().await;
                let members = members.map_err(|error| error.to_string())?;
                let ids = members.iter().map(|member| u64::from(member.session.id()));
                Ok(ids.map(|id| Plain::Integer(id.cast_signed())).collect())
            }
            Self::Call {
                node,
                slot,
                request,
            } => cluster::call(context, node, slot, request).await,
            Self::Reload => {
                let reloaded = context.reload().await;
                let text = reloaded.map_err(|error| error.to_string())?;
                Ok(vec![Plain::Text(text.into_bytes())])
            }
        }
    }
}

fn sent(sent: Result<(), SendError>) -> Answer {
    match sent {
        Ok(()) => Ok(vec![Plain::Flag(true)]),
        Err(error) => Err(error.to_string()),
    }
}
