//! The node's log: one subscriber for the process, on standard error, for a person or for a
//! machine; panics are said there, too.
//!
//! Invariant: who logs neither waits nor fails. [`lines`] has the one thread that writes.

pub(crate) mod lines;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, anyhow};
use fanfare_shared::config::{Log, LogFormat};
use prometheus::IntCounter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use self::lines::{LineWriter, Lines};

/// How long the exit waits for the last lines to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What goes to standard error, once a node logs.
static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

#[allow(clippy::expect_used, reason = "the name is a good one")]
static PANICS: LazyLock<IntCounter> = LazyLock::new(|| {
    IntCounter::new(
        "fanfare_panics_total",
        "Faults in the program: each ended a connection, a link or the node",
    )
    .expect("a metric's name")
});

/// What is counted about the log.
pub(crate) fn counters() -> [IntCounter; 2] {
    [lines::DROPPED.clone(), PANICS.clone()]
}

/// Starts the log; once per process.
pub(crate) fn init(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .with_context(|| format!("log.level = {:?}", log.level))?;
    let terminal = io::stderr().is_terminal();
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let lines = Lines::start("log", log.buffer_bytes, io::stderr())?;
    let lines = Arc::clone(LINES.get_or_init(|| lines));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Its own complaints would go to standard error by themselves, and panic where they cannot.
        .log_internal_errors(false)
        .with_writer(move || LineWriter(Arc::clone(&lines)));
    let started = if human {
        // See https://no-color.org.
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        builder.with_ansi(colour).finish().try_init()
    } else {
        builder.json().flatten_event(true).finish().try_init()
    };
    started.map_err(|error| anyhow!("cannot start the log: {error}"))?;
    panic::set_hook(Box::new(note_panic));
    Ok(())
}

/// Says a panic as a line of the log: the standard library would write it by itself, and wait
/// where nobody reads.
fn note_panic(panic: &PanicHookInfo<'_>) {
    PANICS.inc();
    let at = panic.location().map(ToString::to_string);
    let thread = thread::current();
    let task = crate::panic::task();
    let ends_node = !crate::panic::is_contained();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    // Costs nothing unless RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        thread = thread.name(),
        task,
        at = at.as_deref(),
        error = text,
        backtrace,
        ends_node,
        "panicked: a fault in this program"
    );
    if ends_node {
        let at = at.as_deref().unwrap_or("an unknown place");
        let thread = thread.name().unwrap_or("a thread");
        crate::panic::note(match task {
            Some(task) => format!("the task `{task}` panicked at {at}"),
            None => format!("{thread} panicked at {at}"),
        });
    }
}

/// Says a line whatever the log's level, and waits for it to be written, and all before it, but
/// not for long. Answers false where there is no log.
pub(crate) fn last_words(line: &str) -> bool {
    let Some(lines) = LINES.get() else {
        return false;
    };
    lines.push(format!("{line}\n").as_bytes());
    lines.flush(LAST_WORDS);
    true
}

/// Waits for what was logged to be written, but not for long.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_WORDS);
    }
}
