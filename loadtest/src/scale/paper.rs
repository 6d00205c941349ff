//! The arithmetic: tables of what was measured, and what it comes to for a million connections and
//! for twenty.

mod estimate;

use std::fmt::Write as _;

use serde_json::Value;

use self::estimate::{BUSY, Costs, Estimate, PER_NODE, ROOM};
use super::{IDLE, INTEREST, Record, SATURATE};
use crate::report;
use crate::rerun::find;

/// `scaling.md`.
pub(super) fn write(record: &Record) -> anyhow::Result<String> {
    let costs = Costs::of(record)?;
    let machine = &record.idle["machine"];
    let number = |key: &str| machine[key].as_f64().unwrap_or_default();
    let mut page = format!(
        "# How costs grow\n\nCommit {}; `loadtest/scale`; {} × {}, {:.0} GiB, Linux {}; load \
         average {} at the end. Raw output in [scaling.json](scaling.json), with each run's command. \
         The arithmetic below uses these measurements and no others; `fanfare-load scale --from \
         scaling.json` does it again.\n",
        record.commit,
        number("cores"),
        machine["cpu"].as_str().unwrap_or_default(),
        number("memory_mib") / 1024.0,
        machine["kernel"].as_str().unwrap_or_default(),
        number("load"),
    );
    deliveries(
        &mut page,
        "With members",
        "members",
        "one room",
        &record.members,
    )?;
    deliveries(
        &mut page,
        "With rooms",
        "rooms",
        "publications in turn",
        &record.rooms,
    )?;
    deliveries(
        &mut page,
        "With publications",
        "publications/s",
        "100 members, due at fixed times",
        &record.rates,
    )?;
    interest(&mut page, record, &costs)?;
    redis(&mut page, record, &costs)?;
    idle(&mut page, record, &costs)?;
    arithmetic(&mut page, &costs)?;
    Ok(page)
}

/// A table of runs of `fanout` or `rooms`: what each delivery costs.
fn deliveries(
    page: &mut String,
    title: &str,
    grows: &str,
    what: &str,
    runs: &[Value],
) -> anyhow::Result<()> {
    writeln!(
        page,
        "\n## {title}\n\nCPU time per delivery, {what}.\n\n\
         | {grows} | members each | CPU µs | ÷ floor | p50 µs | p99 µs |\n|---|---|---|---|---|---|"
    )?;
    // By members of each room where rooms grow: rooms of ten compare with rooms of ten.
    let mut groups: Vec<(f64, f64, f64)> = Vec::new();
    for run in runs {
        let number = |path: &str| find(run, path).unwrap_or_default();
        let (members, ratio) = (number("plan/members"), number("servers/-1/ratio"));
        let group = if grows == "rooms" { members } else { 0.0 };
        match groups.iter_mut().find(|known| known.0 == group) {
            Some((_, low, high)) => (*low, *high) = (low.min(ratio), high.max(ratio)),
            None => groups.push((group, ratio, ratio)),
        }
        let grown = match grows {
            "members" => number("plan/members"),
            "rooms" => number("plan/rooms"),
            _ => number("plan/rate"),
        };
        writeln!(
            page,
            "| {grown} | {members} | {:.2} | {ratio:.2} | {:.0} | {:.0} |",
            number("servers/-1/cpu_per_delivery"),
            number("servers/-1/latency/p50"),
            number("servers/-1/latency/p99"),
        )?;
    }
    writeln!(page)?;
    for (members, low, high) in groups {
        let of = if members > 0.0 {
            format!("Rooms of {members}: ")
        } else {
            String::new()
        };
        writeln!(
            page,
            "{of}÷ floor, the dearest is {:.0}% above the cheapest.",
            (high / low - 1.0) * 100.0
        )?;
    }
    Ok(())
}

fn interest(page: &mut String, record: &Record, costs: &Costs) -> anyhow::Result<()> {
    writeln!(
        page,
        "\n## With nodes\n\n`fanfare-load {INTEREST}`: eight gateway processes on one Redis, {} \
         publications/s into one room, of which more and more nodes have a member. Each \
         publication costs, beyond rest:\n\n\
         | nodes with members | into Redis, B | out of Redis, B | Redis CPU µs | publisher's node, \
         CPU µs | each other with a member | each without |\n|---|---|---|---|---|---|---|",
        find(&record.interest, "rate").unwrap_or_default()
    )?;
    for level in record.interest["levels"].as_array().into_iter().flatten() {
        let cell = |key: &str, digits| report::number(level[key].as_f64(), digits);
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            level["interested"],
            cell("redis_in", 0),
            cell("redis_out", 0),
            cell("redis_cpu", 1),
            cell("publisher_cpu", 1),
            cell("member_cpu", 1),
            cell("bystander_cpu", 1),
        )?;
    }
    writeln!(
        page,
        "\nA node without members costs nothing and is sent nothing; each node with members costs \
         Redis {:.0} B and {:.1} µs more. A room in which nothing happens costs Redis {:.1} µs for \
         each comparison of its position, one every `redis.sync_interval` (20 s) by each node with \
         members.",
        costs.out_each, costs.redis_further, costs.comparison
    )?;
    Ok(())
}

fn redis(page: &mut String, record: &Record, costs: &Costs) -> anyhow::Result<()> {
    let busy = record.saturate["saturated"].as_bool().unwrap_or_default();
    writeln!(
        page,
        "\n## Where one Redis saturates\n\n`fanfare-load {SATURATE}`: pipelined, a publication costs \
         Redis {:.1} µs of its one core with one node interested{}. With {:.1} µs for each further \
         node, from the table above and so without the benefit of pipelining, one Redis accepts at \
         most the rates below. (A publication that is alone in its round trip costs Redis more, as \
         above; what counts is what it costs as the core fills.)\n\n| nodes with members of the room | publications/s |\n|---|---|",
        costs.redis,
        if busy {
            ", measured with that core saturated"
        } else {
            "; its core was not saturated, since the others of this machine were"
        },
        costs.redis_further
    )?;
    for interested in [1.0, 2.0, 4.0, 8.0] {
        let most = 1e6 / costs.redis_at(interested);
        writeln!(page, "| {interested} | {most:.0} |")?;
    }
    Ok(())
}

fn idle(page: &mut String, record: &Record, costs: &Costs) -> anyhow::Result<()> {
    let number = |path: &str| find(&record.idle, path).unwrap_or_default();
    let connections = number("connections");
    writeln!(
        page,
        "\n## 100,000 connections on one machine\n\n`fanfare-load {IDLE}`: {connections} open after \
         {:.1} s, {} ended.\n\n\
         | | a connection | all |\n|---|---|---|\n\
         | gateways, resident over empty | {:.0} B | {:.0} MiB |\n\
         | kernel, the gateway's end (half of both) | {:.0} B | {:.0} MiB |\n\
         | CPU time to keep them, heartbeats included | {:.2} µs/s | {:.1}% of a core |\n\
         | CPU time of a handshake, the join included | {:.1} µs | {:.1} s |",
        number("opened_in"),
        number("closed"),
        costs.rss,
        costs.rss * connections / 1_048_576.0,
        costs.kernel,
        costs.kernel * connections / 1_048_576.0,
        costs.idle,
        costs.idle * connections / 1e4,
        costs.handshake,
        costs.handshake * connections / 1e6,
    )?;
    Ok(())
}

/// A row of the arithmetic: its name, how it is reckoned, the value, its digits and its unit.
type Row = (
    &'static str,
    String,
    fn(&Estimate) -> f64,
    usize,
    &'static str,
);

fn arithmetic(page: &mut String, costs: &Costs) -> anyhow::Result<()> {
    let [one, twenty] = [1e6, 20e6].map(|connections| Estimate::of(connections, costs));
    writeln!(
        page,
        "\n## What that comes to\n\n\
         Assumed: nodes of 100,000 connections (`limits.connections`), everyone in one room of ten, a \
         publication of 128 B into each room every ten seconds, members on any nodes; a core of \
         Redis used to {:.0}%. Not measured at this size: a network between the machines, and \
         that nothing else grows. CPU times are those of loopback, where the sender pays for the \
         receiver's TCP as well, and of this machine's cores.\n\n\
         | | how | 1 million | 20 million |\n|---|---|---|---|",
        BUSY * 100.0
    )?;
    let rows: [Row; 10] = [
        ("nodes", "connections ÷ 100,000".into(), |e| e.nodes, 0, ""),
        (
            "memory of a node, its sockets in the kernel included",
            format!("100,000 × ({:.0} + {:.0} B)", costs.rss, costs.kernel),
            |e| e.memory,
            2,
            " GB",
        ),
        (
            "publications/s",
            "connections ÷ 10 ÷ 10 s".into(),
            |e| e.publications,
            0,
            "",
        ),
        (
            "deliveries/s",
            "publications × 10".into(),
            |e| e.publications * ROOM,
            0,
            "",
        ),
        (
            "nodes with members of a room",
            "nodes × (1 − (1 − 1/nodes)¹⁰)".into(),
            |e| e.interested,
            1,
            "",
        ),
        (
            "cores of a node",
            format!(
                "its share of publications × ({:.0} µs + (nodes with members − 1) × {:.0} + \
                 10 × {:.1}) + 100,000 × {:.2} µs/s",
                costs.publishing, costs.receiving, costs.small_delivery, costs.idle
            ),
            |e| e.node_cores,
            2,
            "",
        ),
        (
            "cores of Redis, publications",
            format!(
                "publications × ({:.1} µs + (nodes with members − 1) × {:.1})",
                costs.redis, costs.redis_further
            ),
            |e| e.redis_cores,
            2,
            "",
        ),
        (
            "cores of Redis, comparisons",
            format!(
                "rooms × nodes with members ÷ 20 s × {:.1} µs",
                costs.comparison
            ),
            |e| e.comparison_cores,
            2,
            "",
        ),
        (
            "out of Redis, Gbit/s",
            format!(
                "publications × ({:.0} + {:.0} B × nodes with members)",
                costs.out, costs.out_each
            ),
            |e| e.redis_out,
            2,
            "",
        ),
        (
            "**Redis servers**",
            format!("cores of Redis ÷ {BUSY}"),
            |e| e.redis_servers,
            0,
            "",
        ),
    ];
    for (name, how, value, digits, unit) in rows {
        let (one, twenty) = (value(&one), value(&twenty));
        writeln!(
            page,
            "| {name} | {how} | {one:.digits$}{unit} | {twenty:.digits$}{unit} |"
        )?;
    }
    let per_connection = (one.redis_cores + one.comparison_cores) / 1e6;
    let (large, nodes) = (PER_NODE * costs.delivery / 1e6, twenty.nodes);
    writeln!(
        page,
        "\nOne Redis alone carries this work up to about {:.1} million connections; then several are to be \
         turned on: several addresses in `redis.url` spread the rooms over independent servers, and Redis Cluster \
         with sharded pub/sub does the same with failover of its own (in a Cluster without it, each \
         publication goes to every server, and more of them carry no more). Either divides all rows \
         of Redis by the number of servers, since a room lives on one of them. Where the rooms are \
         many and quiet, a longer `redis.sync_interval` takes the row of comparisons down in \
         proportion: it is only the last resort against a lost end of a burst.\n\n\
         The other extreme, one room of all: a publication costs Redis {:.0} µs and {:.0} B for {nodes:.0} \
         nodes (20 million), which one server bears {:.0} times a second; each node writes \
         100,000 sockets at {:.1} µs, {large:.2} s of one core, and so less with more workers. \
         There the nodes' cores are the limit, and fewer connections on each is the remedy.",
        BUSY / per_connection / 1e6,
        costs.redis_at(nodes),
        costs.out_at(nodes),
        BUSY * 1e6 / costs.redis_at(nodes),
        costs.delivery,
    )?;
    Ok(())
}
