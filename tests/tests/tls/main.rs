//! Listeners with TLS.

mod certificates;
mod encrypted;
mod listeners;
