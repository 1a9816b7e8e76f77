//! What becomes of a request, by its listener's routes.

use std::borrow::Cow;

use hyper::Uri;
use moorline_config::{PUBLISH_GROUP, RouteKind, Routes};

use super::publish::Publishing;
use crate::session_request::SessionKind;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Routed<'a> {
    /// Its path is none that a route may see.
    Bad,
    /// A path with a slash more or less has a route.
    Moved(String),
    /// A session of this kind may begin.
    Session(SessionKind),
    /// A file, from the folder in this place of the routes' own.
    File(usize),
    /// The app answers it, if its body has at most this number of bytes.
    App { max_body: u64 },
    /// It is something for a group.
    Publish(Publishing<'a>),
    /// No route has its path.
    Nowhere,
}

impl<'a> Routed<'a> {
    pub(super) fn find(routes: &'a Routes, target: &Uri, is_handshake: bool) -> Self {
        let path = target.path();
        if !path.contains("//") {
            return Self::find_path(routes, path, target.query(), is_handshake);
        }
        // Files have always been found so. What lies before them must be, too, and nothing else sees such a path.
        match Self::find_path(routes, &single_slashes(path), None, false) {
            found @ (Self::File(_) | Self::Bad) => found,
            _ => Self::Nowhere,
        }
    }

    fn find_path(routes: &'a Routes, path: &str, query: Option<&str>, is_handshake: bool) -> Self {
        let (route, location) = match routes.find(path, is_handshake) {
            Err(_) => return Self::Bad,
            Ok(Some(route)) => (route, None),
            Ok(None) => match routes.other_slash(path, is_handshake) {
                Ok(Some((location, route))) => (route, Some(location)),
                Ok(None) | Err(_) => return Self::Nowhere,
            },
        };
        let kind = SessionKind::of(route);
        if let (Some(location), None) = (location, kind) {
            if location.starts_with("//") || location.starts_with("/\\") {
                // A browser would take it for another host.
                return Self::Nowhere;
            }
            let query = query.map(|query| format!("?{query}"));
            return Self::Moved(location + &query.unwrap_or_default());
        }
        match (kind, &route.kind) {
            (Some(kind), _) => Self::Session(kind),
            (None, RouteKind::Static(_)) => {
                let mut folders = routes.folders();
                let place = folders.position(|(other, _)| std::ptr::eq(other, route));
                place.map_or(Self::Nowhere, Self::File)
            }
            (None, RouteKind::App { max_body } | RouteKind::Engine { max_body }) => Self::App {
                max_body: *max_body,
            },
            (None, RouteKind::Publish { token }) => {
                let mut parameters = route.path.parameters(path).into_iter();
                let group = parameters.find(|(name, _)| *name == PUBLISH_GROUP);
                group.map_or(Self::Nowhere, |(_, group)| {
                    Self::Publish(Publishing { group, token })
                })
            }
            (None, _) => Self::Nowhere,
        }
    }
}

/// A path in which slashes that follow each other are one.
pub(super) fn single_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return path.into();
    }
    let mut single = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    single.into()
}
