//! The examples do what their first lines say.

mod chat;
mod chat_app;
mod chat_lua;
mod library;
mod rooms;
mod stream_answer;
