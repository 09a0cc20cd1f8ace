//! The closed-loop client of the network benchmarks: it keeps one request in
//! flight on each connection, checks every answer, and reports what it did.
//!
//! It is not written in Python, so that it costs little and is the same for
//! each event loop. It connects once, prints one line of JSON when it is ready,
//! then does `N` requests for each line `N` on its standard input and prints one
//! line of JSON for each. It ends with its input. `benchmarks/network.py` drives
//! it, and reads the server's CPU clock just before and just after each run.

mod answer;
mod closed_loop;
mod latency;
mod options;
mod stream;
mod tls;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use crate::closed_loop::ClosedLoop;
use crate::options::Options;

fn main() -> ExitCode {
    match serve_commands() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _broken_pipe = writeln!(io::stderr(), "load_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve_commands() -> io::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut closed_loop = ClosedLoop::connect(&options)?;
    report(&format!("{{\"ready\": {}}}", options.connections))?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let requests = line
            .trim()
            .parse()
            .map_err(|_error| io::Error::other(format!("expected a number of requests, got {line:?}")))?;
        let latencies = closed_loop.run(requests)?;
        report(&latencies.to_json())?;
    }
    Ok(())
}

fn report(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
