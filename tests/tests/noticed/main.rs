//! What is wrong with an engine is named, with what to do, by `status`, by `top`, on the page and by alerts.

mod clients;
mod healthy;
mod machine;
mod page;
mod peers;
mod status;
mod workers;
