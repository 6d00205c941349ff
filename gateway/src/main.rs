//! The `fanfare` program: its allocator, and how it ends.

use std::process::ExitCode;

use fanfare_gateway::cli::Cli;

/// Returns memory to the system after connections come and go, and frees across threads
/// cheaply; the system's allocator does neither.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad configuration.
fn main() -> ExitCode {
    match Cli::run_arguments() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}
