//! Configurations of nginx and HAProxy that `moorline import` serves, beside the programs that they were written for.

mod command;
mod haproxy;
mod nginx;
mod pages;
mod proxies;
mod servers;
