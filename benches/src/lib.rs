//! What some programs of `cargo xtask bench` share.

pub mod bystander;
