//! Messages of all lengths, WebSocket, HTTP files and datagrams.

mod datagrams;
mod files;
mod http;
mod long;
mod websocket;
