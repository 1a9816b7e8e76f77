//! The hooks.

use std::rc::Rc;

use moorline_actor::LaunchOptions;
use moorline_lua::{Embedded, EmbeddedOptions, RunOptions};
use moorline_worker::app::{
    Accept, App, CallError as AppCallError, CloseReason, Context, LuaScript, Message, Opened,
    Request, Response, Result, ServiceCall, Session,
};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::bridge::CallError;
use crate::cluster::CLUSTER;
use crate::functions::MODULES;
use crate::gate::SOCKETS;
use crate::serving::{BridgeService, Serving};
use crate::settings::LuaSettings;

/// Services in Lua, if the configuration names a script; otherwise nothing.
#[derive(Debug)]
pub struct LuaApp(Option<Running>);

#[derive(Debug)]
struct Running {
    serving: Rc<Serving>,
    /// Its services end with it.
    _services: Embedded,
}

impl App for LuaApp {
    type Settings = LuaSettings;

    async fn start(context: Context, settings: LuaSettings) -> Result<Self> {
        match context.lua() {
            Some(script) if !context.is_task() => {
                let script = script.clone();
                Ok(Self(Some(
                    Running::start(context, &script, settings).await?,
                )))
            }
            _ => Ok(Self(None)),
        }
    }

    async fn accept(self: Rc<Self>, request: Request) -> Result<Accept> {
        match &self.0 {
            Some(running) => running.serving.accept(&request).await,
            None => Ok(Accept::by_rules()),
        }
    }

    async fn request(self: Rc<Self>, request: Request) -> Result<Response> {
        match &self.0 {
            Some(running) => running.serving.request(&request).await,
            None => Ok(Response::new(404)),
        }
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        let Some(running) = &self.0 else {
            return Ok(());
        };
        let is_adopted = opened == Opened::Adopted;
        if running.serving.streams.has(session.listener()) {
            return running.serving.open_stream(&session, is_adopted).await;
        }
        running.serving.open(&session, is_adopted).await?;
        Ok(())
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        let Some(running) = &self.0 else {
            return Ok(());
        };
        if let Some(stream) = running.serving.streams.of_session(session.id().into()) {
            stream.message(&message, message.is_text()).await;
            return Ok(());
        }
        if running.serving.is_refused(&session) {
            return Ok(());
        }
        let is_text = message.is_text();
        let bytes = message.into_vec();
        running.serving.message(&session, bytes, is_text).await
    }

    async fn call(self: Rc<Self>, _: Context, call: ServiceCall) -> Result<Vec<u8>> {
        let running = self.0.as_ref().filter(|_| call.service() == CLUSTER);
        let running = running.ok_or(AppCallError::NoSuchService)?;
        running.serving.cluster_call(call.into_vec()).await
    }

    async fn full(self: Rc<Self>, session: Session) -> Result {
        self.warn(&session, true)
    }

    async fn drained(self: Rc<Self>, session: Session) -> Result {
        self.warn(&session, false)
    }

    async fn stop(self: Rc<Self>, _: Context) -> Result {
        if let Some(running) = &self.0 {
            running.serving.streams.flushed().await;
        }
        Ok(())
    }

    async fn close(self: Rc<Self>, session: Session, reason: CloseReason) -> Result {
        match &self.0 {
            Some(running) => {
                running.serving.streams.forget(session.id().into());
                running.serving.close(&session, reason).await
            }
            None => Ok(()),
        }
    }
}

/// What is said to wait in the gateway for a client that reads slowly: it does not say how much it is.
const GATEWAYS_KIBIBYTES: usize = 1024;

impl LuaApp {
    /// Tells the script that has a session as a socket what `socket.warning` is for.
    fn warn(&self, session: &Session, is_full: bool) -> Result {
        let serving = self.0.as_ref().map(|running| &running.serving);
        let stream = serving.and_then(|it| it.streams.of_session(session.id().into()));
        if let Some(stream) = stream {
            let queued = GATEWAYS_KIBIBYTES + stream.output.kibibytes();
            stream.socket.warn(if is_full { queued } else { 0 });
        }
        Ok(())
    }
}

impl Running {
    /// Runs the script up to the end of its start function.
    async fn start(context: Context, script: &LuaScript, settings: LuaSettings) -> Result<Self> {
        let serving = Serving::new(context);
        let (services, this_loop) = Embedded::start(EmbeddedOptions {
            run: RunOptions::for_script(
                &script.script,
                &script.arguments,
                script.path.as_deref(),
                1,
            )?,
            variables: settings.into_variables(),
            modules: MODULES.to_vec(),
            sockets: Some(SOCKETS),
        })?;
        serving.streams.connect(services.ports());
        let ending = Rc::downgrade(&serving);
        spawn_local(async move {
            this_loop.await;
            if let Some(serving) = ending.upgrade() {
                serving.end("a service in Lua has called skynet.abort");
                serving.bridge.end();
            }
        });
        let (tell, told) = oneshot::channel();
        services.launch(move |port| {
            let serving = Serving::here().ok_or("no hooks are on this thread")?;
            serving.bridge.set_port(port);
            let _ = tell.send(());
            Ok(Box::new(BridgeService(serving)))
        })?;
        told.await?;
        let first = services.first();
        let launched = serving.bridge.ask(|port, session| {
            let options = LaunchOptions::default();
            let launched = port.launch(options, session, first);
            launched
                .map(drop)
                .map_err(|error| CallError::Failed(error.to_string()))
        });
        if let Err(error) = launched.await {
            // The supervisor ends this process once it knows. What the services have logged says why they do not start.
            moorline_lua::flush_output();
            return Err(error.into());
        }
        serving.begin();
        Ok(Self {
            serving,
            _services: services,
        })
    }
}
