//! What an app says to a request that asks for a session.

use serde::Serialize;

use crate::app::locker::tagged;
use crate::app::{LockerError, Request, Versioned};
use crate::config::is_subprotocol;
use crate::wire::accept::{
    Acceptance, HttpAnswer, LARGEST_REQUEST, LARGEST_VERDICT, Verdict, is_field,
};
use crate::wire::{LONGEST_LABEL, LONGEST_NAME};

/// The answer to a [`Request`]: the session begins, or it does not. The result of [`App::accept`].
///
/// ```
/// use moorline_worker::app::{Accept, Request, Result};
///
/// async fn accept(request: Request) -> Result<Accept> {
///     let Some(token) = request.cookie("session") else {
///         return Ok(Accept::refuse(401).body("log in first"));
///     };
///     Ok(Accept::new().bind(token).remember(&request, &["user-agent"]))
/// }
/// ```
///
/// What breaks a limit, or the head of an answer, is found when the hook has ended: then the request is answered with 503,
/// and the reason is logged as an error of the hook.
///
/// [`App::accept`]: crate::app::App::accept
#[derive(Debug, Clone)]
#[must_use = "the hook returns it"]
pub struct Accept(Verdict);

impl Default for Accept {
    fn default() -> Self {
        Self::new()
    }
}

impl Accept {
    /// The session begins. The origin of a web page must still fit the listener's `origins`, unless
    /// [`any_origin`](Self::any_origin) says otherwise.
    pub fn new() -> Self {
        Self(Verdict::Accept(Box::default()))
    }

    /// No session begins: the answer has this status, from 300 to 599.
    pub fn refuse(status: u16) -> Self {
        Self(Verdict::Refuse(Box::new(HttpAnswer {
            status,
            ..HttpAnswer::default()
        })))
    }

    /// No session begins: the client finds what it asks for at this address (302). Browsers follow it only for pages, not
    /// for WebSocket sessions.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::refuse(302).header("Location", location)
    }

    /// The listener's rules decide, about this request and all others.
    pub fn by_rules() -> Self {
        Self(Verdict::Rules)
    }

    /// Adds a field to the head of the answer. The engine itself writes those that describe the connection, the length of the
    /// body and the handshake.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let field = (name.into(), value.into());
        match &mut self.0 {
            Verdict::Accept(acceptance) => acceptance.fields.push(field),
            Verdict::Refuse(answer) => answer.fields.push(field),
            Verdict::Rules | Verdict::Failed => {}
        }
        self
    }

    /// The body of a refusal. Without a `Content-Type` of its own it is text.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        if let Verdict::Refuse(answer) = &mut self.0 {
            answer.body = body.into();
        }
        self
    }

    /// Agrees on this WebSocket subprotocol, one of those that the client [offers](Request::protocols). Without a choice the
    /// listener's `subprotocols` decide.
    pub fn protocol(self, name: impl Into<String>) -> Self {
        self.change(|acceptance| acceptance.protocol = Some(name.into()))
    }

    /// The app has looked at the origin itself: it need not fit the listener's `origins`.
    pub fn any_origin(self) -> Self {
        self.change(|acceptance| acceptance.any_origin = true)
    }

    /// The session begins with this value in its locker, as [`Session::keep`](crate::app::Session::keep) puts it there.
    ///
    /// # Errors
    /// [`LockerError::TooLarge`] and [`LockerError::Encode`].
    pub fn keep<T: Serialize + Versioned>(self, value: &T) -> Result<Self, LockerError> {
        let state = tagged(value)?;
        Ok(self.change(|acceptance| acceptance.data.state = state))
    }

    /// The session begins bound to this key, up to 255 bytes: see [`Session::bind`](crate::app::Session::bind).
    pub fn bind(self, key: impl Into<Vec<u8>>) -> Self {
        self.change(|acceptance| acceptance.data.key = key.into())
    }

    /// The session begins with this label, up to 64 bytes: see [`Session::set_label`](crate::app::Session::set_label).
    pub fn label(self, label: impl Into<Vec<u8>>) -> Self {
        self.change(|acceptance| acceptance.data.label = label.into())
    }

    /// Keeps the target of the request and these fields of its head for
    /// [`Session::request`](crate::app::Session::request), up to 4 KiB in all: a field that does not fit is left out, and so is
    /// the query of a target that is longer.
    pub fn remember(self, request: &Request, fields: &[&str]) -> Self {
        self.change(|acceptance| acceptance.data.request = request.kept(fields))
    }

    fn change(mut self, change: impl FnOnce(&mut Acceptance)) -> Self {
        if let Verdict::Accept(acceptance) = &mut self.0 {
            change(acceptance);
        }
        self
    }

    /// What goes to the gateway, or why that is impossible.
    pub(crate) fn encode(mut self) -> Result<Vec<u8>, String> {
        if let Verdict::Refuse(answer) = &mut self.0 {
            let is_kind = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
            if !answer.body.is_empty() && !answer.fields.iter().any(is_kind) {
                let kind = "text/plain; charset=utf-8";
                answer.fields.push(("Content-Type".into(), kind.into()));
            }
        }
        self.check()?;
        let bytes = postcard::to_stdvec(&self.0).map_err(|error| error.to_string())?;
        match bytes.len() {
            0..=LARGEST_VERDICT => Ok(bytes),
            size => Err(format!(
                "an answer to a request has {size} bytes, and at most {LARGEST_VERDICT}"
            )),
        }
    }

    fn check(&self) -> Result<(), String> {
        let (fields, data) = match &self.0 {
            Verdict::Accept(acceptance) => (&acceptance.fields, Some(&acceptance.data)),
            Verdict::Refuse(answer) if !(300..600).contains(&answer.status) => {
                let status = answer.status;
                return Err(format!(
                    "a refusal with the status {status}: write 300 to 599"
                ));
            }
            Verdict::Refuse(answer) => (&answer.fields, None),
            Verdict::Rules | Verdict::Failed => return Ok(()),
        };
        if let Some((name, _)) = fields.iter().find(|(name, value)| !is_field(name, value)) {
            return Err(format!(
                "the answer to a request cannot have this field: {name:?}"
            ));
        }
        if let Verdict::Accept(acceptance) = &self.0
            && let Some(name) = acceptance
                .protocol
                .as_deref()
                .filter(|it| !is_subprotocol(it))
        {
            return Err(format!("no subprotocol has the name {name:?}"));
        }
        let Some(data) = data else { return Ok(()) };
        let sizes = [
            ("key", data.key.len(), LONGEST_NAME),
            ("label", data.label.len(), LONGEST_LABEL),
            ("kept request", data.request.len(), LARGEST_REQUEST),
        ];
        match sizes.iter().find(|(_, size, most)| size > most) {
            Some((what, size, most)) => {
                Err(format!("a {what} of {size} bytes, and at most {most}"))
            }
            None => Ok(()),
        }
    }
}

/// The answer after a failure.
pub(crate) fn failed() -> Vec<u8> {
    // A plain value: there is nothing in it that could fail to be written.
    postcard::to_stdvec(&Verdict::Failed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_breaks_its_head_or_a_limit_is_refused() {
        assert!(Accept::new().header("Set-Cookie", "a=b").encode().is_ok());
        assert!(Accept::refuse(404).body("no such room").encode().is_ok());
        for wrong in [
            Accept::refuse(200),
            Accept::new().header("X", "a\r\nb"),
            Accept::new().header("Upgrade", "h2c"),
            Accept::new().protocol("a b"),
            Accept::new().label([0; 65]),
            Accept::new().bind([0; 256]),
            Accept::refuse(403).body(vec![0; LARGEST_VERDICT]),
        ] {
            assert!(wrong.clone().encode().is_err(), "{wrong:?}");
        }
    }
}
