//! The command line: where to connect, how often, and what to say there.

use std::io;
use std::path::PathBuf;

/// What a run is asked to do.
#[derive(Debug)]
pub(crate) struct Options {
    /// `host:port`, `udp:host:port`, or `unix:` and a path.
    pub(crate) address: String,
    /// Speak TLS over TCP, and trust the certificates of this file alone.
    pub(crate) authority: Option<PathBuf>,
    pub(crate) connections: usize,
    /// Make a connection for each request, instead of keeping them.
    pub(crate) connect_each: bool,
    pub(crate) exchange: Exchange,
}

/// The request that is sent over and over, and with it the answer to expect.
#[derive(Debug, Clone)]
pub(crate) enum Exchange {
    /// Send this many bytes, and expect the same bytes back.
    Echo { bytes: usize },
    /// Send one byte, and expect this many bytes of the pattern.
    Download { bytes: usize },
    /// Send `GET path`, and expect `200` and a body with a `Content-Length`.
    Http { path: String },
}

const USAGE: &str = "usage: load_client --address HOST:PORT|udp:HOST:PORT|unix:PATH [--tls AUTHORITY.pem] \
                     [--connections N] [--connect-each] (--echo BYTES | --download BYTES | --http PATH)";

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let mut address = None;
        let mut authority = None;
        let mut connections = 10;
        let mut connect_each = false;
        let mut exchange = None;
        while let Some(name) = arguments.next() {
            if name == "--connect-each" {
                connect_each = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| io::Error::other(USAGE))?;
            match name.as_str() {
                "--address" => address = Some(value),
                "--tls" => authority = Some(value.into()),
                "--connections" => connections = number(&name, &value)?,
                "--echo" => exchange = Some(Exchange::Echo { bytes: number(&name, &value)? }),
                "--download" => exchange = Some(Exchange::Download { bytes: number(&name, &value)? }),
                "--http" => exchange = Some(Exchange::Http { path: value }),
                _ => return Err(io::Error::other(USAGE)),
            }
        }
        match (address, exchange) {
            (Some(address), Some(exchange)) => {
                Ok(Self { address, authority, connections, connect_each, exchange })
            }
            _ => Err(io::Error::other(USAGE)),
        }
    }
}

fn number(name: &str, value: &str) -> io::Result<usize> {
    match value.parse() {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err(io::Error::other(format!("{name} must be a number from 1, got {value:?}"))),
    }
}
