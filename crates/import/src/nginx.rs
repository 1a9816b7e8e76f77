//! nginx's `stream` block.
//!
//! The modules, from top to bottom:
//!
//! - `stream`: servers become listeners, and what they pass to becomes upstreams
//! - `variants`: upstreams with the settings of the servers that use them
//! - `server`: one server
//! - `access`, `limit`, `ssl`, `conf_command`: which clients may connect, how many, and TLS with them
//! - `peers`, `peer_ssl`: settings towards peers
//! - `resolver`: DNS servers
//! - `map`: variables that follow from others; `log`: logs of connections
//! - `upstream`: peers and how one is chosen
//! - `listen`, `addresses`, `server_name`: where a server listens, and which of several gets a client
//! - `scope`: which setting holds in a server
//! - `variables`: nginx's variables in Moorline's words
//! - `directives`: what becomes of each directive
//! - `context`: what all directives share
//! - `pem_file`: paths of certificates and keys
//! - `tree`, `words`, `value`: the syntax

mod access;
mod addresses;
mod conf_command;
mod context;
mod directives;
mod limit;
mod listen;
mod log;
mod map;
mod peer_ssl;
mod peers;
mod pem_file;
mod resolver;
mod scope;
mod server;
mod server_name;
mod ssl;
mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod upstream;
mod value;
mod variables;
mod variants;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::Source;
use crate::files::Files;
use crate::note::{Report, Reported};
use crate::toml::Document;

use context::Context;
use directives::Block;
use tree::{Directive, Tree};

/// Imports the `stream` block of a file.
pub(crate) fn import(
    source: &Source<'_>,
    files: &mut dyn Files,
    report: Report,
) -> (Document, Report) {
    let mut cx = Context {
        report,
        folder: source.folder,
        made: BTreeMap::new(),
        groups: 0,
        matched: BTreeSet::new(),
    };
    let document = document(source, files, &mut cx);
    (document.unwrap_or_default(), cx.report)
}

fn document(
    source: &Source<'_>,
    files: &mut dyn Files,
    cx: &mut Context<'_>,
) -> Result<Document, Reported> {
    let mut tree = Tree::new(files, source.folder);
    let main = tree.parse(&source.name.into(), source.text, &mut cx.report)?;
    let main = tree.expand(main, &mut cx.report);
    directives::check(Block::Main, &main, &mut cx.report);
    let mut streams = main.into_iter().filter(|it| it.name == "stream");
    let Some(stream) = streams.next() else {
        let place = crate::note::Place {
            file: source.name.into(),
            line: 1,
        };
        let message = "there is no `stream` block, and only that is imported";
        return Err(cx.report.error(&place, message));
    };
    if let Some(more) = streams.next() {
        return Err(more.refuse(&mut cx.report, "is written twice"));
    }
    stream.block(&mut cx.report)?;
    let block = tree.expand(stream.block.unwrap_or_default(), &mut cx.report);
    let block = expand_blocks(block, &mut tree, cx);
    Ok(stream::stream(&block, cx))
}

/// With includes within servers, upstreams and tables, too.
fn expand_blocks(
    directives: Vec<Directive>,
    tree: &mut Tree<'_>,
    cx: &mut Context<'_>,
) -> Vec<Directive> {
    let expand = |mut directive: Directive| {
        let block = directive.block.take();
        directive.block = block.map(|block| tree.expand(block, &mut cx.report));
        directive
    };
    directives.into_iter().map(expand).collect()
}
