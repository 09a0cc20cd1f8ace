//! How an answer is recognised, and checked, while its bytes arrive.

use std::io;

use crate::options::Exchange;

/// The bytes of one request, and what its answer must look like.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) request: Vec<u8>,
    /// The bytes of the answer; `None` where it is one of HTTP.
    answer: Option<Vec<u8>>,
}

impl Script {
    pub(crate) fn new(exchange: &Exchange, address: &str) -> Self {
        match exchange {
            Exchange::Echo { bytes } => Self { request: pattern(*bytes), answer: Some(pattern(*bytes)) },
            Exchange::Download { bytes } => Self { request: vec![b'.'], answer: Some(pattern(*bytes)) },
            Exchange::Http { path } => {
                let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
                Self { request: request.into_bytes(), answer: None }
            }
        }
    }
}

/// Bytes that repeat with a prime period, so that a lost or swapped piece shows.
fn pattern(bytes: usize) -> Vec<u8> {
    (0_u8..251).cycle().take(bytes).collect()
}

/// What has come of one answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    received: usize,
    /// The start of an HTTP answer, until its head is complete.
    head: Vec<u8>,
    /// Length of head and body, once the head is complete.
    expected: Option<usize>,
}

impl Answer {
    /// Takes the next bytes, and says whether the answer is complete.
    pub(crate) fn take(&mut self, script: &Script, bytes: &[u8]) -> io::Result<bool> {
        match &script.answer {
            Some(expected) => self.take_known(expected, bytes),
            None => self.take_http(bytes),
        }
    }

    fn take_known(&mut self, expected: &[u8], bytes: &[u8]) -> io::Result<bool> {
        let end = self.received + bytes.len();
        if expected.get(self.received..end) != Some(bytes) {
            return Err(io::Error::other(format!(
                "the answer is not what was expected between bytes {} and {end}",
                self.received
            )));
        }
        self.received = end;
        Ok(end == expected.len())
    }

    fn take_http(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.received += bytes.len();
        if self.expected.is_none() {
            self.head.extend_from_slice(bytes);
            self.expected = answer_length(&self.head)?;
        }
        match self.expected {
            Some(expected) if self.received > expected => {
                Err(io::Error::other("the server sent more than one answer to a request"))
            }
            Some(expected) => Ok(self.received == expected),
            None => Ok(false),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.received = 0;
        self.head.clear();
        self.expected = None;
    }
}

/// Length of the whole answer that starts with `head`; `None` while the head is incomplete.
fn answer_length(head: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&head[..end]);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("expected status 200, got {status:?}")));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _value)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_name, value)| value.trim().parse::<usize>().ok());
    match length {
        Some(length) => Ok(Some(end + 4 + length)),
        None => Err(io::Error::other("the answer has no Content-Length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_answer_may_arrive_in_pieces() {
        let script = Script::new(&Exchange::Http { path: "/".into() }, "host:80");
        let mut answer = Answer::default();
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh" {
            assert!(!answer.take(&script, &[*byte]).unwrap());
        }
        assert!(answer.take(&script, b"i").unwrap());
    }

    #[test]
    fn a_wrong_echo_is_an_error() {
        let script = Script::new(&Exchange::Echo { bytes: 3 }, "host:80");
        let mut answer = Answer::default();
        assert!(!answer.take(&script, &[0, 1]).unwrap());
        assert!(answer.take(&script, &[7]).is_err());
    }

    #[test]
    fn a_download_is_complete_with_its_last_byte() {
        let script = Script::new(&Exchange::Download { bytes: 3 }, "host:80");
        let mut answer = Answer::default();
        assert!(!answer.take(&script, &[0, 1]).unwrap());
        assert!(answer.take(&script, &[2]).unwrap());
    }

    #[test]
    fn a_failed_request_is_an_error() {
        assert!(answer_length(b"HTTP/1.1 500 No\r\n\r\n").is_err());
    }
}
