//! Stop and drain.

mod pace;
mod stop;
