//! What other nodes ask of services in Lua, for `skynet.cluster`.

use moorline_lua::Plain;
use moorline_worker::app::{CallError, Error};

use crate::bridge::CallError as BridgeError;
use crate::serving::Serving;

/// What an answer begins with if this worker does not have the service.
const NOT_HERE: u8 = 2;

impl Serving {
    /// A request of another node.
    pub(crate) async fn cluster_call(&self, request: Vec<u8>) -> Result<Vec<u8>, Error> {
        let service = self.cluster_service.get();
        let service = service.ok_or(CallError::NoSuchService)?;
        let values = vec![Plain::Word("cluster"), Plain::Text(request)];
        let answered = self.bridge.call(service, values).await;
        let values = match answered {
            Err(BridgeError::Gone) => return Err(CallError::NoSuchService.into()),
            values => values?,
        };
        match values.into_iter().next() {
            Some(Plain::Text(answer)) if answer.first() == Some(&NOT_HERE) => {
                Err(CallError::NoSuchService.into())
            }
            Some(Plain::Text(answer)) => Ok(answer),
            _ => Err("the service has not answered with bytes".into()),
        }
    }
}
