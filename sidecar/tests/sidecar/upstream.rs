//! The way to origins: through a proxy, by a parent, by own DNS servers, over few connections, and over TLS.

mod forward_proxy;
mod front;
mod limit;
mod name_server;
mod parent;
mod proxy;
mod resolvers;
mod secure;
mod secure_proxy;
