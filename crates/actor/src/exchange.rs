//! A request and its reply, in one box that goes to the callee and back.

use std::any::Any;
use std::mem;

/// What a call sends. The callee puts its reply where the request was: a call allocates once for both.
pub(crate) enum Exchange<A, B> {
    Asked(A),
    /// The callee handles the request.
    Taken,
    Answered(B),
}

/// A request as its callee gets it.
pub(crate) enum Asked<A, B> {
    Exchange(Box<Exchange<A, B>>),
    /// One that was only sent, or not by [`Context::call`](crate::Context::call).
    Alone(Box<A>),
}

/// A value of a payload.
type Value = Box<dyn Any + Send>;

impl<A: Send + 'static, B: Send + 'static> Exchange<A, B> {
    #[inline]
    pub(crate) fn ask(request: A) -> Value {
        Box::new(Self::Asked(request))
    }

    /// The reply in a value, if it is one.
    #[inline]
    pub(crate) fn reply(value: Value) -> Option<B> {
        match value.downcast::<Self>() {
            Ok(exchange) => match *exchange {
                Self::Answered(reply) => Some(reply),
                Self::Asked(_) | Self::Taken => None,
            },
            Err(value) => value.downcast().ok().map(|reply| *reply),
        }
    }
}

impl<A: Send + 'static, B: Send + 'static> Asked<A, B> {
    /// The request in a value, if it is one.
    #[inline]
    pub(crate) fn of(value: Value) -> Option<Self> {
        match value.downcast::<Exchange<A, B>>() {
            Ok(exchange) => match *exchange {
                Exchange::Asked(_) => Some(Self::Exchange(exchange)),
                Exchange::Taken | Exchange::Answered(_) => None,
            },
            Err(value) => value.downcast().ok().map(Self::Alone),
        }
    }

    /// The request, and where the reply belongs. None if it was taken before.
    #[inline]
    pub(crate) fn take(self) -> Option<(A, ReplyBox<A, B>)> {
        match self {
            Self::Alone(request) => Some((*request, ReplyBox(None))),
            Self::Exchange(mut exchange) => match mem::replace(&mut *exchange, Exchange::Taken) {
                Exchange::Asked(request) => Some((request, ReplyBox(Some(exchange)))),
                Exchange::Taken | Exchange::Answered(_) => None,
            },
        }
    }
}

/// Where a reply belongs.
pub(crate) struct ReplyBox<A, B>(Option<Box<Exchange<A, B>>>);

impl<A: Send + 'static, B: Send + 'static> ReplyBox<A, B> {
    #[inline]
    pub(crate) fn fill(self, reply: B) -> Value {
        match self.0 {
            Some(mut exchange) => {
                *exchange = Exchange::Answered(reply);
                exchange
            }
            None => Box::new(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Ours = Exchange<String, u64>;

    fn asked(value: Value) -> Option<Asked<String, u64>> {
        Asked::of(value)
    }

    #[test]
    fn a_reply_comes_back_in_the_box_of_its_request() {
        let value = Ours::ask("seven".to_owned());
        let sent: *const u8 = (&raw const *value).cast();
        let (request, reply) = asked(value).and_then(Asked::take).expect("it is a request");
        assert_eq!(request, "seven");
        let value = reply.fill(7);
        assert_eq!((&raw const *value).cast::<u8>(), sent);
        assert_eq!(Ours::reply(value), Some(7));
    }

    #[test]
    fn requests_and_replies_without_such_a_box_are_taken_and_others_are_not() {
        let alone = asked(Box::new("x".to_owned())).and_then(Asked::take);
        let (request, reply) = alone.expect("it is a request");
        assert_eq!(request, "x");
        assert_eq!(Ours::reply(reply.fill(9)), Some(9));
        assert!(asked(Box::new(9_u8)).is_none());
        assert!(asked(Exchange::<u8, u64>::ask(1)).is_none());
        assert_eq!(Ours::reply(Box::new(9_u8)), None);
        assert_eq!(Ours::reply(Ours::ask(String::new())), None);
        assert!(asked(ReplyBox(Some(Box::new(Ours::Taken))).fill(1)).is_none());
    }
}
