//! `ltls.c`: TLS without sockets. Bytes that a script has received go in, and plaintext comes out, and the other way round.
//!
//! As with skynet, peers are not verified unless the script, or the configuration, asks for it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use mlua::{AnyUserData, IntoLuaMulti, Lua, LuaString, MetaMethod, MultiValue, Table};
use mlua::{UserData, UserDataFields, UserDataRegistry, Value};
use moorline_net::tls::client::{ClientCredentials, ClientOptions, ClientTls};
use moorline_net::tls::server::{
    ClientCertificates, ServerCertificate, ServerCredentials, ServerOptions, ServerTls,
};
use moorline_net::tls::{ClientCertificate, Roots, TlsError, TlsRecords};

use crate::module::{Module, failure};
use crate::state::ServiceState;
use crate::sys::Charge;

/// What `newctx` makes: a certificate, and how peers are verified.
struct TlsContext {
    verification: PeerVerification,
    certificate: RefCell<Option<(PathBuf, PathBuf)>>,
    /// Made ready when they are first used, and again with another certificate.
    client: RefCell<Option<ClientTls>>,
    server: RefCell<Option<ServerTls>>,
}

/// How the peers of a context are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PeerVerification {
    None,
    /// Servers, by these roots.
    Servers(Roots),
    /// Servers and clients, by the roots in this file.
    All(PathBuf),
}

/// What `newtls` makes: the TLS of one connection.
struct ScriptTls {
    context: Rc<TlsContext>,
    side: ScriptTlsSide,
    records: Option<TlsRecords>,
    /// What came behind the handshake, or was not read yet.
    plaintext: Vec<u8>,
    /// What must be sent, and was not handed out yet.
    answer: Vec<u8>,
    failure: Option<String>,
    is_closed: bool,
    charge: Charge,
}

/// What the TLS of a connection takes, about, besides what is in it.
const BYTES_A_CONNECTION: usize = 32 << 10;

enum ScriptTlsSide {
    Server,
    /// The name of the server, if it is known.
    Client(Option<String>),
}

/// The table of `ltls.c`.
pub(crate) fn module(lua: &Lua, state: &Rc<ServiceState>) -> mlua::Result<Table> {
    let state = state.clone();
    let module = Module::new(lua)?
        .function("newctx", move |_, options: Option<Table>| {
            let asked = match &options {
                Some(options) => options.get::<Value>("verify")?,
                None => Value::Nil,
            };
            let verification = match asked {
                Value::Nil => by_configuration(state.process.variable("tls_verify")),
                asked => verification(&asked)?,
            };
            Ok(ScriptTlsContext(Rc::new(TlsContext {
                verification,
                certificate: RefCell::new(None),
                client: RefCell::new(None),
                server: RefCell::new(None),
            })))
        })?
        .function(
            "newtls",
            |lua, (method, context, host): (Option<String>, AnyUserData, Option<String>)| {
                let context = context.borrow::<ScriptTlsContext>();
                let context = context.map_err(|_| failure("need sslctx"))?;
                let side = match method.as_deref() {
                    Some("client") => ScriptTlsSide::Client(host),
                    Some("server") => ScriptTlsSide::Server,
                    other => {
                        let other = other.unwrap_or("nil");
                        let why = format!("invalid method:{other} e.g[server, client]");
                        return Err(failure(why));
                    }
                };
                let charge = Charge::new(lua, BYTES_A_CONNECTION)?;
                let tls = ScriptTls::new(context.0.clone(), side, charge);
                Ok(ScriptTlsHandle(RefCell::new(tls)))
            },
        )?;
    Ok(module.into_table())
}

/// The table of `ltls.init.c`. There is nothing to begin and to end.
pub(crate) fn init_module(lua: &Lua) -> mlua::Result<Table> {
    let module = Module::new(lua)?
        .function("constructor", |_, ()| Ok(()))?
        .function("destructor", |_, ()| Ok(()))?;
    Ok(module.into_table())
}

fn verification(asked: &Value) -> mlua::Result<PeerVerification> {
    match asked {
        Value::Boolean(false) => Ok(PeerVerification::None),
        Value::Boolean(true) => Ok(PeerVerification::Servers(Roots::System)),
        Value::String(path) => Ok(PeerVerification::All(path.to_string_lossy().into())),
        other => Err(failure(format!(
            "verify is true, false or the path of a PEM file with roots, not a {}",
            other.type_name()
        ))),
    }
}

/// What `tls_verify` says about servers. Clients are not meant by it.
fn by_configuration(said: Option<String>) -> PeerVerification {
    match said.as_deref() {
        None | Some("false" | "") => PeerVerification::None,
        Some("true") => PeerVerification::Servers(Roots::System),
        Some(path) => PeerVerification::Servers(Roots::File(path.into())),
    }
}

/// A script's handle of a context.
struct ScriptTlsContext(Rc<TlsContext>);

impl UserData for ScriptTlsContext {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_meta_field_with(MetaMethod::Index, |lua| {
            type Files = (AnyUserData, Option<String>, Option<String>);
            let methods = Module::new(lua)?
                .function("set_cert", |_, (context, certificate, key): Files| {
                    let certificate = certificate.ok_or_else(|| failure("need certfile"))?;
                    let key = key.ok_or_else(|| failure("need private key"))?;
                    let context = context.borrow::<Self>()?;
                    context.0.set_certificate(certificate, key).map_err(failure)
                })?
                // Those of rustls are used, whatever is asked for: all of them are good.
                .function(
                    "set_ciphers",
                    |_, (context, list): (AnyUserData, Option<String>)| {
                        context.borrow::<Self>()?;
                        list.map(|_| ()).ok_or_else(|| failure("need cipher list"))
                    },
                )?;
            Ok(methods.into_table())
        });
    }
}

impl TlsContext {
    /// Reads a chain and its key, which are shown from now on. What is wrong with them is said here.
    fn set_certificate(&self, certificate: String, key: String) -> Result<(), TlsError> {
        let files = (PathBuf::from(certificate), PathBuf::from(key));
        let before = self.certificate.replace(Some(files));
        match self.ready_server() {
            Ok(server) => {
                self.server.replace(Some(server));
                self.client.replace(None);
                Ok(())
            }
            Err(error) => {
                self.certificate.replace(before);
                Err(error)
            }
        }
    }

    fn ready_server(&self) -> Result<ServerTls, TlsError> {
        let files = self.certificate.borrow();
        let (certificate, key) = files.as_ref().ok_or_else(|| {
            TlsError::Options("a server needs a certificate: call set_cert".to_owned())
        })?;
        let shown = ServerCertificate::new(certificate.as_path(), key.as_path());
        let mut options = ServerOptions::new(vec![shown]);
        if let PeerVerification::All(issuers) = &self.verification {
            let issuers = issuers.as_path().into();
            options = options.client_certificates(ClientCertificates::Required { issuers });
        }
        ServerTls::new(&options, &ServerCredentials::load(&options)?)
    }

    fn ready_client(&self) -> Result<ClientTls, TlsError> {
        let mut options = ClientOptions::default();
        match &self.verification {
            PeerVerification::None => options.verifies = false,
            PeerVerification::Servers(roots) => options.roots = roots.clone(),
            PeerVerification::All(path) => options.roots = Roots::File(path.clone()),
        }
        if let Some((certificate, key)) = &*self.certificate.borrow() {
            let shown = ClientCertificate::new(certificate.as_path(), key.as_path());
            options.certificate = Some(shown);
        }
        ClientTls::new(&options, &ClientCredentials::load(&options)?)
    }

    /// The TLS of a connection whose handshake has not begun.
    fn records(&self, side: &ScriptTlsSide) -> Result<TlsRecords, String> {
        let text = |error: TlsError| error.to_string();
        match side {
            ScriptTlsSide::Server => {
                let mut server = self.server.borrow_mut();
                let server = match &mut *server {
                    Some(server) => server,
                    none => none.insert(self.ready_server().map_err(text)?),
                };
                TlsRecords::server(server).map_err(|error| error.to_string())
            }
            ScriptTlsSide::Client(host) => {
                let mut client = self.client.borrow_mut();
                let client = match &mut *client {
                    Some(client) => client,
                    none => none.insert(self.ready_client().map_err(text)?),
                };
                match host {
                    Some(host) => client.connect(Some(host)),
                    // Servers without names are not told apart, and resume nothing of each other's.
                    None => client.for_another().connect(None),
                }
                .map_err(text)
            }
        }
    }
}

impl ScriptTls {
    fn new(context: Rc<TlsContext>, side: ScriptTlsSide, charge: Charge) -> Self {
        Self {
            charge,
            context,
            side,
            records: None,
            plaintext: Vec::new(),
            answer: Vec::new(),
            failure: None,
            is_closed: false,
        }
    }

    fn is_finished(&self) -> bool {
        let records = self.records.as_ref();
        self.failure.is_none() && records.is_some_and(|records| !records.is_handshaking())
    }

    /// Goes on with the handshake: what is to be sent.
    fn shake_hands(&mut self, received: &[u8]) -> Result<Vec<u8>, String> {
        if self.is_finished() {
            return Err("handshake is finished".to_owned());
        }
        if self.records.is_none() {
            self.records = Some(self.context.records(&self.side)?);
        }
        self.take(received)
            .map_err(|why| format!("SSL_do_handshake error: {why}"))?;
        Ok(std::mem::take(&mut self.answer))
    }

    /// Plaintext, and whether the peer has said that no more comes.
    fn read(&mut self, received: &[u8]) -> Result<(Vec<u8>, bool), String> {
        self.take(received)
            .map_err(|why| format!("SSL_read error: {why}"))?;
        let is_over = self.records.as_ref().is_some_and(TlsRecords::is_over);
        Ok((std::mem::take(&mut self.plaintext), is_over))
    }

    /// What is to be sent, with this plaintext at its end.
    fn write(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, String> {
        if !plaintext.is_empty() {
            let sealed = match (&self.failure, &mut self.records) {
                (Some(why), _) => Err(why.clone()),
                (None, Some(records)) => records
                    .seal(plaintext, &mut self.answer)
                    .map_err(|error| error.to_string()),
                (None, None) => Err("the handshake has not begun".to_owned()),
            };
            sealed.map_err(|why| format!("SSL_write error: {why}"))?;
        }
        Ok(std::mem::take(&mut self.answer))
    }

    /// The last bytes for the peer. Nothing more can be done with it.
    fn close(&mut self) -> Vec<u8> {
        let mut last = std::mem::take(&mut self.answer);
        if let Some(mut records) = self.records.take() {
            records.close(&mut last);
        }
        self.plaintext = Vec::new();
        self.is_closed = true;
        self.charge = Charge::default();
        last
    }

    /// Takes received bytes: keeps their plaintext, and what must be sent in answer, also if they are refused.
    fn take(&mut self, received: &[u8]) -> Result<(), String> {
        if let Some(why) = &self.failure {
            return Err(why.clone());
        }
        let records = self.records.as_mut().ok_or("the handshake has not begun")?;
        let before = records.unfinished();
        if received.is_empty() && before > 0 {
            return Ok(());
        }
        let mut input = vec![0; before + received.len()];
        if before > 0 {
            records.lend(&mut input);
        }
        input[before..].copy_from_slice(received);
        let start = self.plaintext.len();
        self.plaintext.resize(start + input.len(), 0);
        let opened = records.open(&mut input, &mut self.plaintext[start..], &mut self.answer);
        let count = opened.as_ref().map_or(0, |opened| opened.plaintext);
        self.plaintext.truncate(start + count);
        opened.map(|_| ()).map_err(|error| {
            let why = error.to_string();
            self.failure = Some(why.clone());
            why
        })
    }
}

/// A script's handle of a connection's TLS.
struct ScriptTlsHandle(RefCell<ScriptTls>);

impl ScriptTlsHandle {
    /// Calls `act` on what a script has handed back.
    fn with<T>(
        handle: &AnyUserData,
        act: impl FnOnce(&mut ScriptTls) -> Result<T, String>,
    ) -> mlua::Result<T> {
        let handle = handle.borrow::<Self>();
        let handle = handle.map_err(|_| failure("need tls context"))?;
        let mut tls = handle.0.borrow_mut();
        if tls.is_closed {
            return Err(failure("context is closed"));
        }
        act(&mut tls).map_err(failure)
    }
}

impl UserData for ScriptTlsHandle {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_meta_field_with(MetaMethod::Index, |lua| {
            Ok(methods(Module::new(lua)?)?.into_table())
        });
    }
}

fn methods(module: Module<'_>) -> mlua::Result<Module<'_>> {
    type Bytes = (AnyUserData, Option<LuaString>);
    module
        .function("handshake", |lua, (tls, received): Bytes| {
            let received = received.as_ref().map(LuaString::as_bytes);
            let received = received.as_deref().unwrap_or_default();
            let out = ScriptTlsHandle::with(&tls, |tls| tls.shake_hands(received))?;
            let out = (!out.is_empty()).then(|| lua.create_string(out));
            out.transpose()
        })?
        .function("finished", |_, tls: AnyUserData| {
            ScriptTlsHandle::with(&tls, |tls| Ok(tls.is_finished()))
        })?
        .function("read", |lua, (tls, received): Bytes| {
            let received = received.as_ref().map(LuaString::as_bytes);
            let received = received.as_deref().unwrap_or_default();
            let (text, is_over) = ScriptTlsHandle::with(&tls, |tls| tls.read(received))?;
            (lua.create_string(text)?, is_over).into_lua_multi(lua)
        })?
        .function("write", |lua, (tls, plaintext): Bytes| {
            let plaintext = plaintext.as_ref().map(LuaString::as_bytes);
            let plaintext = plaintext.as_deref().unwrap_or_default();
            lua.create_string(ScriptTlsHandle::with(&tls, |tls| tls.write(plaintext))?)
        })?
        .function("close", |lua, tls: AnyUserData| {
            let tls = tls.borrow::<ScriptTlsHandle>();
            let tls = tls.map_err(|_| failure("need tls context"))?;
            let last = tls.0.borrow_mut().close();
            match last.is_empty() {
                true => Ok(MultiValue::new()),
                false => lua.create_string(last)?.into_lua_multi(lua),
            }
        })?
        .function(
            "set_ext_host_name",
            |_, (tls, name): (AnyUserData, String)| {
                ScriptTlsHandle::with(&tls, |tls| {
                    if tls.records.is_some() {
                        return Err(
                            "SSL_set_tlsext_host_name error: the handshake has begun".into()
                        );
                    }
                    if let ScriptTlsSide::Client(host) = &mut tls.side {
                        *host = Some(name);
                    }
                    Ok(())
                })
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_is_about_servers() {
        let servers = PeerVerification::Servers;
        for (said, expected) in [
            (None, PeerVerification::None),
            (Some("false"), PeerVerification::None),
            (Some("true"), servers(Roots::System)),
            (Some("r.pem"), servers(Roots::File("r.pem".into()))),
        ] {
            assert_eq!(
                by_configuration(said.map(str::to_owned)),
                expected,
                "{said:?}"
            );
        }
    }
}
