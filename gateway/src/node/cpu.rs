//! The process's CPU time, finer than the whole seconds that the process collector gives: at low
//! load, the cost of a delivery would be read off steps.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Error};
use rustix::time::{ClockId, clock_gettime};

/// `fanfare_cpu_seconds_total`, read from the kernel whenever it is asked for.
#[derive(Debug)]
pub(crate) struct CpuSeconds(Counter);

impl CpuSeconds {
    pub(crate) fn new() -> Result<Self, Error> {
        Counter::new(
            "fanfare_cpu_seconds_total",
            "CPU time of the process, in user mode and in the kernel",
        )
        .map(Self)
    }
}

impl Collector for CpuSeconds {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        #[allow(
            clippy::cast_precision_loss,
            reason = "seconds, and nanoseconds of one"
        )]
        let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        self.0.inc_by((seconds - self.0.get()).max(0.0));
        self.0.collect()
    }
}
