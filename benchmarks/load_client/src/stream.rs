//! A connected, non-blocking stream over TCP, TLS or a Unix socket, or a UDP socket.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::sockopt;
use rustls::ClientConfig;

use crate::options::Options;
use crate::tls::{self, TlsStream};

/// Where streams lead.
#[derive(Debug)]
pub(crate) struct Target {
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let tls = options.authority.as_deref().map(tls::trusting).transpose()?;
        Ok(Self { address: options.address.clone(), tls })
    }

    pub(crate) fn connect(&self) -> io::Result<Stream> {
        if let Some(path) = self.address.strip_prefix("unix:") {
            let stream = UnixStream::connect(path)?;
            stream.set_nonblocking(true)?;
            return Ok(Stream::Unix(stream));
        }
        if let Some(address) = self.address.strip_prefix("udp:") {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            return Ok(Stream::Udp(socket));
        }
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        // As the server's: `listening.py` says why.
        sockopt::set_tcp_congestion(&stream, "reno")?;
        stream.set_nonblocking(true)?;
        match &self.tls {
            Some(config) => Ok(Stream::Tls(Box::new(TlsStream::new(stream, config)?))),
            None => Ok(Stream::Tcp(stream)),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Unix(UnixStream),
    Udp(UdpSocket),
}

impl Stream {
    /// Reads what is there; `None` when nothing is.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        or_blocked(match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Udp(socket) => socket.recv(buffer),
        })
    }

    /// Writes what fits; `None` when nothing does.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        or_blocked(match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Udp(socket) => socket.send(bytes),
        })
    }

    /// Ends it as a polite client does.
    pub(crate) fn close(self) -> io::Result<()> {
        match self {
            Self::Tls(mut stream) => stream.finish(),
            Self::Tcp(_) | Self::Unix(_) | Self::Udp(_) => Ok(()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

fn or_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
