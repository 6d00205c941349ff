//! `fanfare-chaos`: breaks a cluster of real processes on purpose, and checks everything that its
//! clients were told.
//!
//! A round's way: a [`fault`], drawn from the seed, strikes the [`world`] ([`topology`] of
//! [`redis_server`]s, [`proxy`] by proxy, [`node`]s) while [`publisher`]s, [`talker`]s and
//! [`subscriber`]s go on on its [`stage`]; it heals; the world settles; the [`ledger`]
//! judges, who is there ([`presence`]), what it cost ([`toll`]) and whose tokens were good for what
//! ([`trust`] and its [`guest`]s) included; the [`report`] says it.
//! [`wire`] and [`socket`] are the suite's own view of the protocol.

mod fault;
mod guest;
mod ledger;
mod node;
mod presence;
mod process;
mod proxy;
mod publisher;
mod redis_server;
mod report;
mod run;
mod socket;
mod stage;
mod stderr;
mod subscriber;
mod talker;
mod toll;
mod topology;
mod trust;
mod wire;
mod world;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let options = run::Options::parse();
    match run::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::line(&format!("fanfare-chaos: {error:#}"));
            ExitCode::from(2)
        }
    }
}
