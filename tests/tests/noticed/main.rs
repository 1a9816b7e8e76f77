//! What is wrong with an engine is named, with what to do, by `status`, on the page and by alerts.

mod status;
