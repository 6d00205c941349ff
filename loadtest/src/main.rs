//! `fanfare-load`: drives WebSocket servers and says what each delivery costs them.
//!
//! A run's way: [`cli`] → a scenario → [`server`] (what is measured) and [`swarm`] (who measures:
//! [`dialect`], [`stamp`], [`ledger`], [`latency`]) → [`usage`] (what the kernel charged) →
//! [`report`]. The smallest server that could do the job, [`floor`], is part of the program and is
//! driven by the same clients, so that every figure has something to be divided by.
//!
//! [`mod@bench`] and [`scale`] are runs of many such runs, [`instructions`] of the parts' benches; what
//! they found is written down, and compared with what was ([`baseline`]).

mod baseline;
mod bench;
mod child;
mod cli;
mod clock;
mod dialect;
mod floor;
mod instructions;
mod latency;
mod ledger;
mod nofile;
mod pin;
mod progress;
mod redis;
mod report;
mod rerun;
mod scale;
mod scenario;
mod server;
mod stamp;
mod swarm;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::clear();
            progress::line(&format!("fanfare-load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
