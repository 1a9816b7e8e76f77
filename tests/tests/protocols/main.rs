//! WebSocket, HTTP files and datagrams.

mod datagrams;
mod files;
mod websocket;
