//! One request in flight on each connection, over one epoll.
//!
//! A connection serves all requests of its place, or one: then the next request
//! closes it and connects again, and its latency counts that too.
//!
//! Registration is edge-triggered and made once. That is sound because a
//! connection is read until its answer is complete or the read would block, and
//! the server owes nothing more until the next request.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::retry_on_intr;

use crate::answer::{Answer, Script};
use crate::latency::{Latencies, instant};
use crate::options::Options;
use crate::stream::{Stream, Target};

const READ_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 256;

#[derive(Debug)]
struct Connection {
    stream: Stream,
    sent: usize,
    answer: Answer,
    asked_at: Instant,
    is_waiting: bool,
    is_used: bool,
}

#[derive(Debug)]
pub(crate) struct ClosedLoop {
    poll: OwnedFd,
    target: Target,
    connect_each: bool,
    script: Script,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl ClosedLoop {
    pub(crate) fn connect(options: &Options) -> io::Result<Self> {
        let mut closed_loop = Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            target: Target::new(options)?,
            connect_each: options.connect_each,
            script: Script::new(&options.exchange, &options.address),
            connections: Vec::with_capacity(options.connections),
            buffer: vec![0; READ_BYTES],
        };
        for index in 0..options.connections {
            let stream = closed_loop.open(index)?;
            closed_loop.connections.push(Connection::new(stream));
        }
        Ok(closed_loop)
    }

    /// Does `requests` requests, and returns when the last answer is complete.
    pub(crate) fn run(&mut self, requests: usize) -> io::Result<Latencies> {
        let started = instant();
        let mut latencies = Latencies::with_capacity(requests);
        let mut asked = 0;
        while asked < requests.min(self.connections.len()) {
            self.ask(asked)?;
            asked += 1;
        }
        let mut events = Vec::<epoll::Event>::with_capacity(EVENTS_MAX);
        while latencies.count() < requests {
            events.clear();
            retry_on_intr(|| epoll::wait(&self.poll, spare_capacity(&mut events), None))?;
            for event in &events {
                let data = event.data.u64();
                let unknown = || io::Error::other(format!("event for connection {data}"));
                let index = usize::try_from(data).map_err(|_error| unknown())?;
                let connection = self.connections.get_mut(index).ok_or_else(unknown)?;
                if !connection.is_waiting {
                    continue;
                }
                connection.send(&self.script)?;
                if connection.receive(&self.script, &mut self.buffer)? {
                    latencies.add(connection.asked_at.elapsed());
                    if asked < requests {
                        self.ask(index)?;
                        asked += 1;
                    }
                }
            }
        }
        latencies.elapsed = started.elapsed();
        Ok(latencies)
    }

    /// Sends the next request on this connection, or on one that takes its place.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let asked_at = instant();
        if self.connect_each && self.connections[index].is_used {
            let stream = self.open(index)?;
            mem::replace(&mut self.connections[index].stream, stream).close()?;
        }
        self.connections[index].ask(&self.script, asked_at)
    }

    /// Connects the stream of this connection, and has epoll tell of it.
    fn open(&self, index: usize) -> io::Result<Stream> {
        let stream = self.target.connect()?;
        let data = epoll::EventData::new_u64(index as u64);
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.poll, &stream, data, interest)?;
        Ok(stream)
    }
}

impl Connection {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            sent: 0,
            answer: Answer::default(),
            asked_at: instant(),
            is_waiting: false,
            is_used: false,
        }
    }

    fn ask(&mut self, script: &Script, asked_at: Instant) -> io::Result<()> {
        self.sent = 0;
        self.answer.clear();
        self.is_waiting = true;
        self.is_used = true;
        self.asked_at = asked_at;
        self.send(script)
    }

    fn send(&mut self, script: &Script) -> io::Result<()> {
        while let Some(rest) = script.request.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest)? {
                Some(bytes) => self.sent += bytes,
                None => break,
            }
        }
        Ok(())
    }

    /// Reads until the answer is complete (true) or no more is there (false).
    fn receive(&mut self, script: &Script, buffer: &mut [u8]) -> io::Result<bool> {
        while let Some(bytes) = self.stream.read(buffer)? {
            if bytes == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
            if self.answer.take(script, &buffer[..bytes])? {
                self.is_waiting = false;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
