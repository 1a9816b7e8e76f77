//! `[[listen.route]]`: what an HTTP listener does with the requests for a path.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache_control;
use super::error::Reported;
use super::route_path::{BadPath, RoutePath};
use super::walk::{Field, Section};

/// Routes of one listener.
const MOST_ROUTES: usize = 256;
/// A shorter token is guessed too easily.
const SHORTEST_TOKEN: usize = 16;
const DEFAULT_MAX_BODY: u64 = 1 << 20;
/// The largest body of a request: it is kept in memory until it is whole.
pub(super) const LARGEST_BODY: u64 = 64 << 20;

const HINT: &str = "write [[listen.route]] with double brackets, once for each route";
const KIND_HINT: &str =
    "write kind = \"websocket\", \"sse\", \"static\", \"app\", \"engine\" or \"publish\"";

/// The parameter of a route of kind `publish` that names the group.
pub const PUBLISH_GROUP: &str = "group";

/// What a listener does with the requests for a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The paths.
    pub path: RoutePath,
    /// What it does.
    pub kind: RouteKind,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteKind {
    /// A WebSocket session.
    WebSocket,
    /// A session that sends server-sent events.
    Events,
    /// A file below a folder.
    Static(StaticFiles),
    /// The app answers it, if its body has at most this number of bytes.
    App {
        /// Default 1 MiB.
        max_body: u64,
    },
    /// The engine itself answers it: send, post, run a task, tell the state. Only on Unix sockets, where the rights of their
    /// folder decide who may.
    Engine {
        /// Default 1 MiB.
        max_body: u64,
    },
    /// It is a message to the group that the path names, if it has the token.
    Publish {
        /// What stands behind `Bearer` in its `Authorization`.
        token: Token,
    },
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticFiles {
    /// Absolute.
    pub folder: PathBuf,
    /// The `Cache-Control` header of its files. Default `no-cache`.
    pub cache: String,
}

/// A secret that `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(String);

impl Token {
    pub(super) fn new(secret: &str) -> Self {
        Self(secret.to_owned())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The routes of an HTTP listener, the most specific first; none for other listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Puts the most specific first. Of two routes with the same paths one must be for WebSocket.
    pub fn new(mut routes: Vec<Route>) -> Self {
        let is_websocket = |route: &Route| route.kind == RouteKind::WebSocket;
        routes.sort_by(|a, b| {
            let by_path = a.path.specificity().cmp(b.path.specificity());
            by_path.then(is_websocket(a).cmp(&is_websocket(b)))
        });
        Self(routes)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most specific route for a path. Where two have it, a WebSocket handshake gets the one of that kind.
    ///
    /// # Errors
    /// The path is wrong.
    pub fn find(&self, path: &str, is_handshake: bool) -> Result<Option<&Route>, BadPath> {
        let mut routes = self.0.iter();
        while let Some(route) = routes.next() {
            if !route.path.fits(path)? {
                continue;
            }
            // The other one with these paths, if there is one, follows.
            let other = routes.next().filter(|other| {
                is_handshake
                    && other.kind == RouteKind::WebSocket
                    && other.path.specificity() == route.path.specificity()
            });
            return Ok(other.or(Some(route)));
        }
        Ok(None)
    }

    /// The path that differs from this one by a slash at its end, if only that one has a route.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn other_slash(
        &self,
        path: &str,
        is_handshake: bool,
    ) -> Result<Option<(String, &Route)>, BadPath> {
        let other = match path.strip_suffix('/') {
            Some("") => return Ok(None),
            Some(without) => without.to_owned(),
            None => format!("{path}/"),
        };
        Ok(self.find(&other, is_handshake)?.map(|route| (other, route)))
    }

    /// Those whose requests become sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Route> {
        let begins =
            |route: &&Route| matches!(route.kind, RouteKind::WebSocket | RouteKind::Events);
        self.0.iter().filter(begins)
    }

    /// The path of all sessions, if there is but one.
    pub fn only_session_path(&self) -> Option<&str> {
        let mut sessions = self.sessions();
        let only = sessions.next().filter(|_| sessions.next().is_none());
        only?.path.alone()
    }

    /// Where files come from: in the order in which their folders are opened and passed on.
    pub fn folders(&self) -> impl Iterator<Item = (&Route, &StaticFiles)> {
        self.0.iter().filter_map(|route| match &route.kind {
            RouteKind::Static(files) => Some((route, files)),
            _ => None,
        })
    }

    /// Whether an app must be there for them.
    pub fn need_app(&self) -> bool {
        let needs = |route: &Route| {
            matches!(
                route.kind,
                RouteKind::WebSocket
                    | RouteKind::Events
                    | RouteKind::App { .. }
                    | RouteKind::Engine { .. }
            )
        };
        self.0.iter().any(needs)
    }
}

/// Reads the routes of a listener: those that its own keys `websocket` and `static` mean, and those of its tables.
pub(super) fn routes(section: &Section<'_>, base: &Path) -> Result<Routes, Reported> {
    let websocket = section.read("websocket", |field| own_path(&field));
    let folder = section.read("static", |field| existing_folder(&field, base));
    let cache = section.read("static_cache", |field| cache_control::cache_control(&field));
    let tables = section.read("route", |field| {
        let tables: Vec<_> = field.array(HINT)?.collect();
        if tables.len() > MOST_ROUTES {
            let message = format!("`route`: there are over {MOST_ROUTES} of them");
            return Err(field.refuse(message, "use parameters, as in \"/chat/:room\""));
        }
        Ok(tables)
    });
    let (websocket, folder, cache) = (websocket?, folder?, cache?);
    let mut routes = Vec::new();
    routes.extend(websocket.map(|path| Route {
        path,
        kind: RouteKind::WebSocket,
    }));
    routes.extend(folder.map(|folder| Route {
        path: RoutePath::all(),
        kind: RouteKind::Static(StaticFiles {
            folder,
            cache: cache.unwrap_or_else(|| cache_control::DEFAULT.into()),
        }),
    }));
    for table in tables?.unwrap_or_default() {
        let route = route(&table, base)?;
        if let Some(same) = routes.iter().find(|other| is_same(other, &route)) {
            let message = format!("the path {} already has a route", same.path);
            return Err(table.refuse(message, "remove one of the two, or change its path"));
        }
        routes.push(route);
    }
    Ok(Routes::new(routes))
}

/// Whether no request tells the one from the other.
fn is_same(a: &Route, b: &Route) -> bool {
    let is_websocket = |route: &Route| route.kind == RouteKind::WebSocket;
    a.path.specificity() == b.path.specificity() && is_websocket(a) == is_websocket(b)
}

/// The names of the kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    WebSocket,
    Events,
    Static,
    App,
    Engine,
    Publish,
}

/// The keys that belong to one kind only.
const OWN_KEYS: &[(&str, Word, &str)] = &[
    (
        "folder",
        Word::Static,
        "belongs to routes of kind \"static\"",
    ),
    (
        "cache",
        Word::Static,
        "belongs to routes of kind \"static\"",
    ),
    ("max_body", Word::App, "belongs to routes of kind \"app\""),
    (
        "token",
        Word::Publish,
        "belongs to routes of kind \"publish\"",
    ),
    (
        "token_file",
        Word::Publish,
        "belongs to routes of kind \"publish\"",
    ),
];

fn route(field: &Field<'_>, base: &Path) -> Result<Route, Reported> {
    let section = field.section("[[listen.route]]", HINT)?;
    let path = section.require("path", "write path = \"/chat/:room\"", |field| {
        route_path(&field)
    });
    let word = section.require("kind", KIND_HINT, |field| {
        field.choice(&[
            ("websocket", Word::WebSocket),
            ("sse", Word::Events),
            ("static", Word::Static),
            ("app", Word::App),
            ("engine", Word::Engine),
            ("publish", Word::Publish),
        ])
    });
    let folder = section.read("folder", |field| existing_folder(&field, base));
    let cache = section.read("cache", |field| cache_control::cache_control(&field));
    let max_body = section.read("max_body", |field| body_size(&field));
    let token = section.read("token", |field| Ok((field.text()?.to_owned(), field)));
    let token_file = section.read("token_file", |field| Ok((text_of(&field, base)?, field)));
    let (path, word) = (path?, word?);
    for (key, of, reason) in OWN_KEYS {
        let is_own = *of == word || (*of, word) == (Word::App, Word::Engine);
        if !is_own {
            section.refuse_keys(&[key], reason)?;
        }
    }
    let (folder, cache, max_body) = (folder?, cache?, max_body?);
    let kind = match word {
        Word::WebSocket => RouteKind::WebSocket,
        Word::Events => RouteKind::Events,
        Word::App => RouteKind::App {
            max_body: max_body.unwrap_or(DEFAULT_MAX_BODY),
        },
        Word::Engine => RouteKind::Engine {
            max_body: max_body.unwrap_or(DEFAULT_MAX_BODY),
        },
        Word::Static => {
            if path.has_parameters() {
                let message = "`path`: a route of files has no parameters";
                let hint = "write the path of the folder, as \"/assets\"";
                return Err(section.report.error(section.place("path"), message, hint));
            }
            RouteKind::Static(StaticFiles {
                folder: folder.ok_or_else(|| missing(&section, "folder", "folder = \"public\""))?,
                cache: cache.unwrap_or_else(|| cache_control::DEFAULT.into()),
            })
        }
        Word::Publish if !names_group(&path) => {
            let message = "`path`: a route of kind \"publish\" has no parameter for the group";
            let hint =
                "write path = \"/publish/:group\", or \"/publish/*group\" if names have slashes";
            return Err(section.report.error(section.place("path"), message, hint));
        }
        Word::Publish => RouteKind::Publish {
            token: one_token(&section, token?, token_file?)?,
        },
    };
    section.finish()?;
    let path = match word {
        Word::Static | Word::Engine => path.with_all_below(),
        _ => path,
    };
    Ok(Route { path, kind })
}

fn names_group(path: &RoutePath) -> bool {
    let text = path.to_string();
    let names = path.parameters(&text).into_iter();
    names
        .map(|(name, _)| name)
        .any(|name| name == PUBLISH_GROUP)
}

fn missing(section: &Section<'_>, key: &str, example: &str) -> Reported {
    let message = format!("{} has no `{key}`", section.title);
    let hint = format!("write {example}");
    section.report.error(section.span.clone(), message, &hint)
}

/// The token of a route, from one of the two keys.
fn one_token(
    section: &Section<'_>,
    written: Option<(String, Field<'_>)>,
    from_file: Option<(String, Field<'_>)>,
) -> Result<Token, Reported> {
    let (token, field) = match (written, from_file) {
        (Some(token), None) | (None, Some(token)) => token,
        (None, None) => return Err(missing(section, "token", "token_file = \"publish.token\"")),
        (Some(_), Some((_, field))) => {
            return Err(field.refuse("`token` is written, too", "remove one of the two"));
        }
    };
    fit_token(token, &field)
}

/// The token in a file, for a key that names the file.
pub(super) fn token_in(field: &Field<'_>, base: &Path) -> Result<Token, Reported> {
    fit_token(text_of(field, base)?, field)
}

fn fit_token(token: String, field: &Field<'_>) -> Result<Token, Reported> {
    if token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!(
            "`{}`: a token has {SHORTEST_TOKEN} or more visible ASCII characters",
            field.key
        );
        return Err(field.refuse(message, "make one with: openssl rand -hex 32"));
    }
    Ok(Token(token))
}

fn text_of(field: &Field<'_>, base: &Path) -> Result<String, Reported> {
    let path = field.path(base)?;
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let message = format!("`{}`: cannot read {}: {error}", field.key, path.display());
        field.refuse(message, "write the path of a file with one line")
    })?;
    Ok(text.trim().to_owned())
}

fn body_size(field: &Field<'_>) -> Result<u64, Reported> {
    let size = field.size()?;
    if size > LARGEST_BODY {
        return Err(field.refuse("`max_body` is over 64 MiB", "write \"64MiB\" or less"));
    }
    Ok(size)
}

fn own_path(field: &Field<'_>) -> Result<RoutePath, Reported> {
    let path = route_path(field)?;
    if path.has_parameters() {
        let message = "`websocket` has a parameter";
        return Err(field.refuse(
            message,
            "write [[listen.route]] with path and kind = \"websocket\"",
        ));
    }
    Ok(path)
}

fn route_path(field: &Field<'_>) -> Result<RoutePath, Reported> {
    let text = field.text()?;
    RoutePath::parse(text)
        .map_err(|wrong| field.refuse(format!("`{}` {}", field.key, wrong.problem), wrong.hint))
}

fn existing_folder(field: &Field<'_>, base: &Path) -> Result<PathBuf, Reported> {
    let folder = field.path(base)?;
    if !folder.is_dir() {
        let message = format!("`{}`: there is no folder {}", field.key, folder.display());
        return Err(field.refuse(
            message,
            "create it, or write the path of one; a relative path begins at this file's folder",
        ));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(list: &[(&str, &str)]) -> Routes {
        let route = |(path, kind): &(&str, &str)| {
            let path = RoutePath::parse(path).expect("it is right");
            let kind = match *kind {
                "websocket" => RouteKind::WebSocket,
                "sse" => RouteKind::Events,
                _ => RouteKind::App { max_body: 0 },
            };
            Route { path, kind }
        };
        Routes::new(list.iter().map(route).collect())
    }

    fn found(routes: &Routes, path: &str, is_handshake: bool) -> String {
        match routes.find(path, is_handshake) {
            Err(BadPath) => "bad".into(),
            Ok(None) => "none".into(),
            Ok(Some(route)) => route.path.to_string(),
        }
    }

    #[test]
    fn the_most_specific_route_is_found_whatever_their_order() {
        let mut list = vec![
            ("/*", "app"),
            ("/chat/*rest", "app"),
            ("/chat/:room", "app"),
            ("/chat/new", "app"),
            ("/:any/new", "app"),
            ("/", "app"),
        ];
        for _ in 0..list.len() {
            list.rotate_left(1);
            let routes = routes(&list);
            for (path, route) in [
                ("/", "/"),
                ("/chat", "/chat/*rest"),
                ("/chat/", "/chat/*rest"),
                ("/chat/new", "/chat/new"),
                ("/chat/n%65w", "/chat/new"),
                ("/chat/a", "/chat/:room"),
                ("/chat/a%2Fb", "/chat/:room"),
                ("/chat/a/b", "/chat/*rest"),
                ("/x/new", "/:any/new"),
                ("/x/y", "/*"),
                ("/chat/..", "bad"),
                ("/chat/%2e", "bad"),
                ("/chat/a%00", "bad"),
                ("/chat/%ff", "bad"),
                ("/x/../chat", "/*"),
                ("/chat/a/../b", "bad"),
            ] {
                assert_eq!(found(&routes, path, false), route, "{path}");
            }
        }
    }

    #[test]
    fn a_handshake_finds_a_websocket_and_other_requests_find_the_other_route() {
        let routes = routes(&[
            ("/room/:id", "websocket"),
            ("/room/:id", "sse"),
            ("/*", "app"),
        ]);
        let kind = |is_handshake| {
            let found = routes.find("/room/7", is_handshake).expect("it is right");
            found.map(|route| route.kind.clone())
        };
        assert_eq!(kind(true), Some(RouteKind::WebSocket));
        assert_eq!(kind(false), Some(RouteKind::Events));
        assert_eq!(found(&routes, "/other", true), "/*");
        let routes = self::routes(&[("/room/:id/events", "sse"), ("/room/*rest", "websocket")]);
        assert_eq!(found(&routes, "/room/7/events", true), "/room/:id/events");
        assert_eq!(found(&routes, "/room/7", true), "/room/*rest");
    }

    #[test]
    fn a_slash_more_or_less_is_found_apart() {
        let routes = routes(&[("/a", "app"), ("/b/", "app"), ("/c/:id", "app")]);
        let other = |path: &str| {
            assert_eq!(routes.find(path, false), Ok(None), "{path}");
            let other = routes.other_slash(path, false).expect("it is right");
            other.map(|(path, _)| path)
        };
        assert_eq!(other("/a/").as_deref(), Some("/a"));
        assert_eq!(other("/b").as_deref(), Some("/b/"));
        assert_eq!(other("/c/x/").as_deref(), Some("/c/x"));
        assert_eq!(other("/c/"), None);
        assert_eq!(other("/"), None);
    }
}
