//! Messages of all lengths, WebSocket, HTTP files and datagrams.

mod accepting;
mod announced;
mod behind_proxies;
mod datagrams;
mod deflate;
mod encrypted_requests;
mod events;
mod files;
mod handshakes;
mod http;
mod long;
mod remote;
mod requests;
mod routes;
mod web;
mod websocket;
