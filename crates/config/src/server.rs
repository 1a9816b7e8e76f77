//! `[[listen.server]]`: what a listener does with the connections of TLS clients that ask for a name.
//!
//! Each is a listener of its own in the configuration, without a socket: a connection begins with the one that has the address, and
//! goes on with the one that has its name.

use std::collections::BTreeSet;
use std::path::Path;

use moorline_net::Address;
use moorline_net::tls::server::ServerOptions;

use super::error::Reported;
use super::known::Known;
use super::map::TextKey;
use super::naming::TakenNames;
use super::relay::{self, DEFAULT_IDLE_TIMEOUT, Relaying};
use super::walk::{Field, Section};
use super::{Listener, Uses, destination, server_name, stream, tls};

/// Servers of one listener: the configuration of the gateway has each of them.
const MOST_SERVERS: usize = 256;

const TITLE: &str = "[[listen.server]]";
const HINT: &str = "write [[listen.server]] with double brackets, once for each server";
const NAMES_HINT: &str = r#"write names = ["a.example"]"#;

/// What the keys of servers say, before the listener is known.
pub(super) struct Servers<'a> {
    fields: Vec<Field<'a>>,
    /// The names of the listener itself.
    own: Vec<TextKey>,
    taken: BTreeSet<String>,
}

impl Servers<'_> {
    /// The names of the listener itself.
    pub(super) fn own_names(&self) -> Vec<TextKey> {
        self.own.clone()
    }
}

/// Reads the keys of a listener.
pub(super) fn servers<'a>(
    section: &Section<'a>,
    address: Option<&Address>,
) -> Result<Servers<'a>, Reported> {
    let mut taken = BTreeSet::new();
    let own = section.read("names", |field| server_name::names(&field, &mut taken));
    let fields = section.read("server", |field| {
        let fields: Vec<_> = field.array(HINT)?.collect();
        match fields.len() <= MOST_SERVERS {
            true => Ok(fields),
            false => {
                let message = format!("there are over {MOST_SERVERS} servers behind one address");
                Err(field.refuse(message, "write several listeners"))
            }
        }
    });
    const KEYS: &[&str] = &["names", "server"];
    if !destination::is_written(section) {
        section.refuse_keys(KEYS, "has no effect without `upstream` or `return`")?;
    }
    if address.is_some_and(|it| !server_name::can_be_named(it)) {
        section.refuse_keys(KEYS, "has no effect on datagrams, which name no host")?;
    }
    Ok(Servers {
        fields: fields?.unwrap_or_default(),
        own: own?.unwrap_or_default(),
        taken,
    })
}

/// The number of servers behind the listener that this field is.
pub(super) fn number_behind(field: &Field<'_>) -> usize {
    let table = field.value.get_ref().as_table();
    let servers = table.and_then(|it| it.get("server")?.get_ref().as_array());
    servers.map_or(0, |it| it.len())
}

/// Makes the servers of a listener.
pub(super) fn of_listener(
    servers: Servers<'_>,
    listener: &Listener,
    base: &Path,
    known: Known<'_>,
    names: &mut TakenNames,
) -> Result<Vec<Listener>, Reported> {
    let Servers {
        fields, mut taken, ..
    } = servers;
    let made: Vec<_> = fields
        .iter()
        .map(|field| server(field, listener, base, known, (&mut taken, names)))
        .collect();
    made.into_iter().collect()
}

fn server(
    field: &Field<'_>,
    listener: &Listener,
    base: &Path,
    known: Known<'_>,
    (taken, listener_names): (&mut BTreeSet<String>, &mut TakenNames),
) -> Result<Listener, Reported> {
    let section = field.section(TITLE, HINT)?;
    let since = field.report.names.used.borrow().len();
    let names = section.require("names", NAMES_HINT, |field| {
        server_name::names(&field, taken)
    });
    let written = section.read("name", |field| field.text());
    let relaying = relay::relaying(&section, Some(&listener.address), known.upstreams);
    let stream = stream::rules_of_server(&section, known);
    let idle_timeout = section.read("idle_timeout", |field| field.timeout());
    let tls = section.read("tls", |field| tls::tls(&field, base, &[]));
    if listener.tls.is_none() {
        section.refuse_keys(
            &["tls"],
            "has no effect without `tls` of the listener: write that, too",
        )?;
    }
    check_shown(&section, listener)?;
    let has_destination = match destination::is_written(&section) {
        true => Ok(()),
        false => Err(section.report.error(
            section.span.clone(),
            "[[listen.server]] has neither `upstream` nor `return`",
            r#"write upstream = "NAME""#,
        )),
    };
    let span = section.place("name");
    section.finish()?;
    let (names, written) = (names?, written?);
    let name = match written {
        Some(name) => name.to_owned(),
        None => server_name::shown(&listener.name, &names),
    };
    server_name::warn_of_groups(field.report, since, &name, &names);
    listener_names.take(field.report, span, "listener", &name)?;
    has_destination?;
    let Relaying { destination, sets } = relaying?;
    let tls = tls?;
    Ok(Listener {
        // Without `tls` it shows what its listener does.
        certificate: match &tls {
            Some(own) => own.certificate.clone(),
            None => listener.certificate.clone(),
        },
        name,
        names,
        host: Some(listener.name.clone()),
        destination,
        sets,
        uses: Uses::default(),
        tls: tls.map(|it| it.options),
        idle_timeout: Some(idle_timeout?.unwrap_or(DEFAULT_IDLE_TIMEOUT)),
        stream: stream?,
        // The listener counts them.
        max_sessions_per_address: None,
        ..listener.clone()
    })
}

/// A server without `tls` shows what its listener does, which may be nothing.
fn check_shown(section: &Section<'_>, listener: &Listener) -> Result<(), Reported> {
    let shows_none = |tls: &ServerOptions| tls.rejects_all_names;
    if listener.tls.as_ref().is_some_and(shows_none) && !section.has("tls") {
        return Err(section.report.error(
            section.span.clone(),
            "[[listen.server]] has no `tls`, and its listener rejects every handshake",
            r#"give this server a `tls` with a certificate: tls = { certificate = "cert.pem", key = "key.pem" }"#,
        ));
    }
    Ok(())
}
