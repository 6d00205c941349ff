//! Runs parts: by criterion, or so often and nothing else, for a tool that counts instructions.

use std::time::Duration;

use criterion::Criterion;

/// Says what to count instead of measuring time: `list`, or a part's number and how often to run
/// it, such as `3:1000`.
const COUNT: &str = "FANFARE_COUNT";

/// One part of the way of a message, ready to be run again and again.
pub(crate) struct Part {
    name: &'static str,
    run: Box<dyn FnMut()>,
}

/// Names a part.
pub(crate) fn part(name: &'static str, run: impl FnMut() + 'static) -> Part {
    Part {
        name,
        run: Box::new(run),
    }
}

/// Runs the parts as the environment and the command line ask.
pub(crate) fn run(mut parts: Vec<Part>) {
    match std::env::var(COUNT).as_deref() {
        Err(_) => measure(&mut parts),
        Ok("list") => {
            for part in &parts {
                println!("{}", part.name);
            }
        }
        Ok(order) => count(&mut parts, order),
    }
}

fn measure(parts: &mut [Part]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for part in parts {
        criterion.bench_function(part.name, |bencher| bencher.iter(&mut part.run));
    }
    criterion.final_summary();
}

fn count(parts: &mut [Part], order: &str) {
    let (index, times) = order
        .split_once(':')
        .expect("a part's number and how often");
    let index: usize = index.parse().expect("a part's number");
    let times: usize = times.parse().expect("how often");
    for _ in 0..times {
        (parts[index].run)();
    }
}
