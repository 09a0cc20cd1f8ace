//! One request in flight on each connection, over one epoll.
//!
//! Registration is edge-triggered and made once. That is sound because a
//! connection is read until its answer is complete or the read would block, and
//! the server owes nothing more until the next request.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::retry_on_intr;

use crate::answer::{Answer, Script};
use crate::latency::{Latencies, instant};
use crate::options::Options;
use crate::stream::Stream;

const READ_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 256;

#[derive(Debug)]
struct Connection {
    stream: Stream,
    sent: usize,
    answer: Answer,
    asked_at: Instant,
    is_waiting: bool,
}

#[derive(Debug)]
pub(crate) struct ClosedLoop {
    poll: OwnedFd,
    script: Script,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl ClosedLoop {
    pub(crate) fn connect(options: &Options) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(options.connections);
        for index in 0..options.connections {
            let stream = Stream::connect(&options.address)?;
            let data = epoll::EventData::new_u64(index as u64);
            let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&poll, &stream, data, interest)?;
            connections.push(Connection {
                stream,
                sent: 0,
                answer: Answer::default(),
                asked_at: instant(),
                is_waiting: false,
            });
        }
        let script = Script::new(&options.exchange, &options.address);
        Ok(Self { poll, script, connections, buffer: vec![0; READ_BYTES] })
    }

    /// Does `requests` requests, and returns when the last answer is complete.
    pub(crate) fn run(&mut self, requests: usize) -> io::Result<Latencies> {
        let started = instant();
        let mut latencies = Latencies::with_capacity(requests);
        let mut asked = 0;
        for connection in self.connections.iter_mut().take(requests) {
            connection.ask(&self.script)?;
            asked += 1;
        }
        let mut events = Vec::<epoll::Event>::with_capacity(EVENTS_MAX);
        while latencies.count() < requests {
            events.clear();
            retry_on_intr(|| epoll::wait(&self.poll, spare_capacity(&mut events), None))?;
            for event in &events {
                let index = event.data.u64();
                let connection = usize::try_from(index)
                    .ok()
                    .and_then(|index| self.connections.get_mut(index))
                    .ok_or_else(|| io::Error::other(format!("event for connection {index}")))?;
                if !connection.is_waiting {
                    continue;
                }
                connection.send(&self.script)?;
                if connection.receive(&self.script, &mut self.buffer)? {
                    latencies.add(connection.asked_at.elapsed());
                    if asked < requests {
                        connection.ask(&self.script)?;
                        asked += 1;
                    }
                }
            }
        }
        latencies.elapsed = started.elapsed();
        Ok(latencies)
    }
}

impl Connection {
    fn ask(&mut self, script: &Script) -> io::Result<()> {
        self.sent = 0;
        self.answer.clear();
        self.is_waiting = true;
        self.asked_at = instant();
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
