//! What connections cost, by what was measured, and what far more of them come to.

use anyhow::Context as _;
use serde_json::Value;

use super::super::Record;
use crate::report::median;
use crate::rerun::find;

/// Connections of one node, as it comes (`limits.connections`).
pub(super) const PER_NODE: f64 = 100_000.0;

/// Seconds between two comparisons of a room's position by a node, as it comes
/// (`redis.sync_interval`).
const SYNC_INTERVAL: f64 = 20.0;

/// How much of a core of Redis may be used: beyond it, waiting grows faster than throughput.
pub(super) const BUSY: f64 = 0.6;

/// Members of a room, and seconds between two publications in it, in the first example.
pub(super) const ROOM: f64 = 10.0;
const PAUSE: f64 = 10.0;

/// What was measured, as the arithmetic needs it. Times in microseconds.
pub(super) struct Costs {
    /// Bytes of a connection: the gateway's own, and one end of a socket in the kernel.
    pub(super) rss: f64,
    pub(super) kernel: f64,
    /// CPU time of a connection in a second without traffic, and of a handshake.
    pub(super) idle: f64,
    pub(super) handshake: f64,
    /// A delivery in a large room, and in one of ten.
    pub(super) delivery: f64,
    pub(super) small_delivery: f64,
    /// A publication at the publisher's node, and at another with members, one delivery included.
    pub(super) publishing: f64,
    pub(super) receiving: f64,
    /// A publication at Redis with one node interested, under load, and for each further one.
    pub(super) redis: f64,
    pub(super) redis_further: f64,
    /// Bytes out of Redis: `out + out_each × interested`.
    pub(super) out: f64,
    pub(super) out_each: f64,
    /// A comparison of a room's position.
    pub(super) comparison: f64,
}

impl Costs {
    pub(super) fn of(record: &Record) -> anyhow::Result<Self> {
        let get = |value: &Value, path: &str| {
            find(value, path).with_context(|| format!("scaling.json has no {path}"))
        };
        let idle = &record.idle;
        let gateways = idle["gateways"].as_array().context("no gateways")?;
        let mean = |key: &str| {
            let values = gateways.iter().filter_map(|gateway| gateway[key].as_f64());
            values.sum::<f64>() / gateways.len() as f64
        };
        let levels = record.interest["levels"].as_array().context("no levels")?;
        let line = |key: &str| {
            let points = levels
                .iter()
                .filter_map(|level| Some((level["interested"].as_f64()?, level[key].as_f64()?)));
            line(points)
        };
        let (_, redis_further) = line("redis_cpu");
        let (out, out_each) = line("redis_out");
        let last = levels.last().context("no levels")?;
        let rounds = record.saturate["rounds"].as_array().context("no rounds")?;
        let redis = rounds
            .iter()
            .filter_map(|round| find(round, "fanfare/redis_cpu"));
        Ok(Self {
            rss: mean("used_per_connection"),
            kernel: get(idle, "memory/kernel")? / get(idle, "connections")? / 2.0,
            idle: mean("cpu_per_idle_second") / 1000.0,
            handshake: mean("cpu_per_handshake"),
            delivery: get(&record.members[1], "servers/-1/cpu_per_delivery")?,
            small_delivery: get(&record.rooms[1], "servers/-1/cpu_per_delivery")?,
            publishing: get(last, "publisher_cpu")?,
            receiving: get(last, "member_cpu")?,
            redis: median(redis).context("no rounds")?,
            redis_further: redis_further.max(0.0),
            out,
            out_each,
            comparison: get(&record.interest, "comparison_cpu")?,
        })
    }

    /// A publication at Redis with `interested` nodes.
    pub(super) fn redis_at(&self, interested: f64) -> f64 {
        self.redis + self.redis_further * (interested - 1.0)
    }

    pub(super) fn out_at(&self, interested: f64) -> f64 {
        self.out + self.out_each * interested
    }
}

/// The line through points, by medians (Theil and Sen), which one disturbed point does not move:
/// its value at 0, and its slope.
fn line(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let points: Vec<_> = points.collect();
    let slopes = points.iter().enumerate().flat_map(|(index, (x, y))| {
        let later = points[index + 1..].iter();
        later.map(move |(later_x, later_y)| (later_y - y) / (later_x - x))
    });
    let slope = median(slopes).unwrap_or_default();
    let start = median(points.iter().map(|(x, y)| y - slope * x)).unwrap_or_default();
    (start, slope)
}

/// What some number of connections comes to, in the first example.
pub(super) struct Estimate {
    pub(super) nodes: f64,
    pub(super) memory: f64,
    pub(super) publications: f64,
    pub(super) interested: f64,
    pub(super) redis_cores: f64,
    pub(super) comparison_cores: f64,
    pub(super) redis_servers: f64,
    pub(super) redis_out: f64,
    pub(super) node_cores: f64,
}

impl Estimate {
    pub(super) fn of(connections: f64, costs: &Costs) -> Self {
        let nodes = connections / PER_NODE;
        let rooms = connections / ROOM;
        let publications = rooms / PAUSE;
        // Members anywhere: a room has none on a node by (1 − 1/nodes)^members.
        let interested = nodes * (1.0 - (1.0 - 1.0 / nodes).powf(ROOM));
        let redis_cores = publications * costs.redis_at(interested) / 1e6;
        let comparison_cores = rooms * interested / SYNC_INTERVAL * costs.comparison / 1e6;
        let per_node = publications / nodes
            * (costs.publishing
                + (interested - 1.0) * costs.receiving
                + ROOM * costs.small_delivery)
            + PER_NODE * costs.idle;
        Self {
            nodes,
            memory: PER_NODE * (costs.rss + costs.kernel) / 1e9,
            publications,
            interested,
            redis_cores,
            comparison_cores,
            redis_servers: ((redis_cores + comparison_cores) / BUSY).ceil(),
            redis_out: publications * costs.out_at(interested) * 8.0 / 1e9,
            node_cores: per_node / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let points = (1..=8).map(|x| (f64::from(x), 100.0 + 25.0 * f64::from(x)));
        let (start, slope) = line(points);
        assert!((start - 100.0).abs() < 1e-9 && (slope - 25.0).abs() < 1e-9);
        assert_eq!(line([(1.0, 5.0)].into_iter()), (5.0, 0.0));
    }

    #[test]
    fn a_disturbed_point_does_not_move_the_line() {
        let points = [
            (1.0, 10.0),
            (2.0, 12.0),
            (3.0, 90.0),
            (4.0, 16.0),
            (5.0, 18.0),
        ];
        assert_eq!(line(points.into_iter()), (8.0, 2.0));
    }

    #[test]
    fn a_million_connections_come_to_what_a_person_reckons() {
        let costs = Costs {
            rss: 1400.0,
            kernel: 5000.0,
            idle: 0.5,
            handshake: 25.0,
            delivery: 4.0,
            small_delivery: 6.0,
            publishing: 100.0,
            receiving: 40.0,
            redis: 10.0,
            redis_further: 5.0,
            out: 100.0,
            out_each: 300.0,
            comparison: 10.0,
        };
        let estimate = Estimate::of(1e6, &costs);
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.01;
        // Ten nodes, 100,000 rooms, 10,000 publications/s, each to 10 × (1 − 0.9¹⁰) nodes.
        assert!(near(estimate.interested, 6.513));
        assert!(near(
            estimate.redis_cores,
            10_000.0 * (10.0 + 5.513 * 5.0) / 1e6
        ));
        assert!(near(estimate.comparison_cores, 0.3257));
        assert!(near(
            estimate.node_cores,
            (1000.0 * (100.0 + 220.5 + 60.0) + 50_000.0) / 1e6
        ));
        assert!(near(estimate.memory, 0.64));
    }
}
