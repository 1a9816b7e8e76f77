//! Services: actors that wait without blocking, on event loops.
//!
//! A service is a [mailbox](Port) and the code that empties it, one message at a time, on one loop for all of its life. Rust
//! services implement [`Service`]: typed requests, async handlers, calls that always end. A host of another language implements
//! [`Actor`], which is the same without types and without futures. [`System`] starts the loops and launches services.
//!
//! ```
//! use std::rc::Rc;
//! use moorline_actor::{Context, LaunchOptions, Service, System, SystemOptions};
//!
//! struct Adder;
//!
//! impl Service for Adder {
//!     type Request = (u64, u64);
//!     type Reply = u64;
//!
//!     async fn handle(self: Rc<Self>, _: Context, (a, b): (u64, u64)) -> u64 {
//!         a + b
//!     }
//! }
//!
//! struct Main;
//!
//! impl Service for Main {
//!     type Request = ();
//!     type Reply = ();
//!
//!     async fn handle(self: Rc<Self>, context: Context, (): ()) {
//!         let adder = context.launch(LaunchOptions::default(), |_| Ok(Adder));
//!         let adder = adder.await.expect("it has a free slot");
//!         assert_eq!(context.call(adder, (2, 3)).await, Ok(5));
//!         context.shut_down();
//!     }
//! }
//!
//! let system = System::start(SystemOptions::default())?;
//! let main = system.launch(LaunchOptions::default(), |_| Ok(Main)).expect("a system that starts has free slots");
//! system.send(main, ());
//! system.wait();
//! # std::io::Result::Ok(())
//! ```
//!
//! # What is delivered
//!
//! - Messages from one service to another arrive in the order in which they were sent, on one loop and across loops.
//! - A message is lost only if its receiver is gone or its mailbox is at its hard limit. A call that is lost ends with an error.
//! - A call ends: with the reply, or with an error once the callee is gone, whether it had taken the request or not. Without a deadline a
//!   call lasts as long as a living callee takes.
//! - A mailbox above its bound pauses the services that send to it, until it is down to half. See [`SystemOptions::mailbox`].
//!
//! # Who owns what
//!
//! A loop owns its services, their mailboxes, its timers and one outbox for each other loop. Nothing of that is shared, so a message
//! between two services of a loop takes no lock. Loops share a table of slots, which tells the loop of an id by one atomic load, an inbox
//! for each loop, and the names. A loop hands its outboxes over at the end of a turn, and wakes each receiver once, if it sleeps.
//!
//! This crate knows nothing of Lua, of sockets and of processes.
//!
//! The modules, from top to bottom; none uses one above it:
//!
//! - `system`: starts loops, launches, waits
//! - `typed`: services with types and async handlers
//! - `exchange`: a request and its reply
//! - `tasks`: the futures of a service
//! - `awaited`: what they wait for
//! - `port`: what a service may do
//! - `wakers`: wakers of what a service waits for
//! - `runner`: a loop's turns
//! - `removal`: the end of a service
//! - `local`: what a loop owns
//! - `cell`: one service on its loop
//! - `owed`: requests that a service has taken and not answered
//! - `mailbox`: messages that wait
//! - `timers`: what is due when
//! - `shared`: what loops share
//! - `inbox`: messages from other loops
//! - `table`: which loop has a service
//! - `names`: names of services
//! - `vitals`: what a loop does at the moment
//! - `actor`: the code behind a mailbox
//! - `report`: what an operator should know
//! - `message`: what is sent
//! - `id`: ids of services

#![forbid(unsafe_code)]

mod actor;
mod awaited;
mod cell;
mod exchange;
mod id;
mod inbox;
mod local;
mod mailbox;
mod message;
mod names;
mod owed;
mod port;
mod removal;
mod report;
mod runner;
mod shared;
mod system;
mod table;
mod tasks;
mod timers;
mod typed;
mod vitals;
mod wakers;

#[cfg(test)]
mod tests;

pub use actor::Actor;
pub use id::ServiceId;
pub use mailbox::MailboxLimits;
pub use message::{Kind, Message, Payload, SendError, Session};
pub use port::Port;
pub use report::Report;
pub use shared::{LaunchError, LaunchOptions};
pub use system::{MOST_POSTED, System, SystemOptions};
pub use typed::{Address, Call, CallError, Context, Service};
