"""Fanfare's four dashboards. `render()` returns them as Grafana reads them; deploy/generate writes them.

One line of a dashboard's list is one panel: what it asks, why one would look, and which runbook knows
more. `$S` in a query stands for the dashboard's selector. deploy/verify/monitoring runs every query.
"""

import itertools

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SELECTOR = 'cluster=~"$cluster", namespace=~"$namespace", pod=~"$pod"'
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
RATE = "[$__rate_interval]"


def line(title, unit, runbook, why, *queries, width=12, stack=False, maximum=None):
    """Lines over time; each query is (expression, legend)."""
    panel = (
        timeseries.Panel()
        .fill_opacity(60 if stack else 8)
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
        .min(0)
    )
    if stack:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if maximum is not None:
        panel.max(maximum)
    return panel, title, unit, runbook, why, queries, width, 8


def number(title, unit, runbook, why, query, width=4):
    """One number, with its course behind it."""
    panel = (
        stat.Panel()
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel, title, unit, runbook, why, [(query, title)], width, 4


def heat(title, runbook, why, histogram, width=12):
    """A histogram's buckets over time."""
    panel = heatmap.Panel().calculate(False).show_value(common_models.VisibilityMode.NEVER)
    query = f"sum by (le) (rate({histogram}_bucket{{$S}}{RATE}))"
    return panel, title, "s", runbook, why, [(query, "{{le}}")], width, 8


def bars(title, unit, runbook, why, query, legend, width=12):
    """The latest values, one bar each."""
    panel = bargauge.Panel().orientation(common_models.VizOrientation.HORIZONTAL)
    return panel, title, unit, runbook, why, [(query, legend)], width, 8


def rate(metric, by=""):
    """Per second, summed."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{$S}}{RATE}))"


def quantiles(histogram, *which, by=""):
    """Quantiles of a histogram, one query each."""
    extra, label = (f"{by}, ", f"{{{{{by}}}}} ") if by else ("", "")
    inner = f"sum by ({extra}le) (rate({histogram}_bucket{{$S}}{RATE}))"
    return [(f"histogram_quantile({q}, {inner})", f"{label}p{q * 100:g}") for q in which]


OVERVIEW = [
    ("Now", [
        number("Nodes", "short", "GatewayDown", "Nodes that answer.", "count(fanfare_build_info{$S})"),
        number("Connections", "short", "ConnectionSkew", "Open connections.", "sum(fanfare_connections{$S})"),
        number("Deliveries", "ops", "DeliveryLatencyBurn", "Publications put into members' outboxes, per second.", rate("fanfare_deliveries_total")),
        number("Delivery latency, p99", "s", "DeliveryLatencyBurn", "From a node's acceptance to the members' outboxes.", quantiles("fanfare_delivery_latency_seconds", 0.99)[0][0]),
        number("Unhealed gaps", "short", "BackendGaps", "Gaps in the chosen time that the log could not fill. Anything but 0 is loss that members were told of.", 'sum(increase(fanfare_backend_gaps_total{outcome="unhealed", $S}[$__range]))'),
        number("Nodes linked", "percentunit", "BackendDisconnected", "Share of the links between nodes and servers of Redis on which the node's own probe comes back.", "avg(fanfare_backend_connected{$S})"),
    ]),
    ("Loss", [
        line("Gaps", "ops", "BackendGaps", "Missed messages, seen by their offsets; healed from the log, or not. `seen` and `healed` rise together when Redis fails over.", (rate("fanfare_backend_gaps_total", "outcome"), "{{outcome}}"), width=8),
        line("Dropped", "ops", "SlowConsumerSurge", "Publications that a slow member's rule let go.", (rate("fanfare_dropped_total", "reason"), "{{reason}}"), width=8),
        line("Skipped", "ops", "BackendSkipped", "Publications that this version cannot read.", (rate("fanfare_backend_skipped_total", "reason"), "{{reason}}"), width=8),
    ]),
    ("Latency", [
        line("Delivery latency", "s", "DeliveryLatencyBurn", "From a node's acceptance of a publication to the members' outboxes. The objective is 0.5 s for 999 in 1000.", *quantiles("fanfare_delivery_latency_seconds", 0.5, 0.99, 0.999)),
        line("Delivery latency by path, p99", "s", "DeliveryLatencyBurn", "`local`: accepted on this node. `remote`: through Redis, the clocks' difference included.", *quantiles("fanfare_delivery_latency_seconds", 0.99, by="path")),
        heat("Delivery latency, spread", "DeliveryLatencyBurn", "Two bands mean two kinds of nodes, rooms or paths.", "fanfare_delivery_latency_seconds"),
        line("Late deliveries", "percentunit", "DeliveryLatencyBurn", "Share above half a second: what the alert watches.", (f'1 - sum(rate(fanfare_delivery_latency_seconds_bucket{{le="0.5", $S}}{RATE})) / sum(rate(fanfare_delivery_latency_seconds_count{{$S}}{RATE}))', "late")),
    ]),
    ("Traffic", [
        line("Publishes", "ops", "ReconnectStorm", "By where they come from.", (rate("fanfare_publishes_total", "origin"), "{{origin}}"), width=8),
        line("Deliveries", "ops", "WorkersLate", "What the nodes' CPU goes into.", (rate("fanfare_deliveries_total", "pod"), "{{pod}}"), width=8, stack=True),
        line("Bytes delivered", "Bps", "OutboxNearCap", "Headers of frames included.", (rate("fanfare_delivery_bytes_total", "pod"), "{{pod}}"), width=8, stack=True),
        line("Fan-out ratio", "short", "WorkersLate", "Deliveries for each publish. It multiplies every publish's cost.", (f"{rate('fanfare_deliveries_total')} / {rate('fanfare_publishes_total')}", "deliveries per publish"), width=8),
        line("Members reached per worker", "short", "WorkersLate", "By one publication on one worker.", *quantiles("fanfare_publish_fanout", 0.5, 0.99), width=8),
        line("Rooms and memberships", "short", "ConnectionSkew", "A room counts once on every node that serves it.", ("sum(fanfare_rooms{$S})", "rooms"), ("sum(fanfare_memberships{$S})", "memberships"), width=8),
    ]),
    ("Connections", [
        line("Connections", "short", "ConnectionSkew", "By node.", ("sum by (pod) (fanfare_connections{$S})", "{{pod}}"), width=8, stack=True),
        line("Skew", "short", "ConnectionSkew", "The fullest node against the average: 1 is even. After a rollout the last node is empty until clients move.", ("max(fanfare_connections{$S}) / avg(fanfare_connections{$S})", "max / avg"), width=8),
        line("Opened and closed", "ops", "ReconnectStorm", "Both high at the same height: clients in a loop.", (rate("fanfare_connections_opened_total"), "opened"), (rate("fanfare_connections_closed_total"), "closed"), width=8),
        line("Closes by reason", "ops", "ReconnectStorm", "`restart` and `going_away` are drains, `slow_consumer` and `no_heartbeat` the clients' side, `gone` clients that left without a word.", (rate("fanfare_connections_closed_total", "reason"), "{{reason}}"), width=8),
        line("Handshakes by result", "ops", "HandshakeFailures", "`unavailable` is a full or a stopping node, `refused` a bad request.", (rate("fanfare_handshakes_total", "result"), "{{result}}"), width=8),
        line("Handshake duration", "s", "HandshakeFailures", "From an accepted socket to an open WebSocket.", *quantiles("fanfare_handshake_duration_seconds", 0.5, 0.99), width=8),
        line("Slow consumers", "ops", "SlowConsumerSurge", "Connections closed as slow: their own outbox overflowed (disconnect), or all together (shed).", (rate("fanfare_slow_consumers_total", "action"), "{{action}}"), width=8),
        line("Connection duration", "s", "ReconnectStorm", "How long the connections lasted that ended.", *quantiles("fanfare_connection_duration_seconds", 0.1, 0.5), width=8),
        bars("Versions", "short", "BackendSkipped", "Nodes of each release. Two for longer than a rollout is a rollout that hangs.", "count by (version) (fanfare_build_info{$S})", "{{version}}", width=8),
    ]),
]  # fmt: skip

NODE = [
    ("Memory and CPU", [
        line("Memory per connection", "bytes", "MemoryPerConnectionRising", "Resident memory for each connection. The kernel's part of a socket, about 5 KB, comes on top.", ("sum by (pod) (process_resident_memory_bytes{job=\"fanfare\", $S}) / sum by (pod) (fanfare_connections{$S} > 0)", "{{pod}}")),
        line("Resident memory", "bytes", "MemoryPerConnectionRising", "Against the pod's limit.", ("sum by (pod) (process_resident_memory_bytes{job=\"fanfare\", $S})", "{{pod}}")),
        line("CPU per delivery", "s", "WorkersLate", "The figure to plan by: it should not move with load.", (f"sum by (pod) (rate(fanfare_cpu_seconds_total{{job=\"fanfare\", $S}}{RATE})) / (sum by (pod) (rate(fanfare_deliveries_total{{$S}}{RATE})) > 0)", "{{pod}}")),
        line("CPU", "short", "WorkersLate", "Cores in use.", ("sum by (pod) (rate(fanfare_cpu_seconds_total{job=\"fanfare\", $S}[$__rate_interval]))", "{{pod}}")),
        line("Scheduler delay, p99", "s", "WorkersLate", "How long ready work waits for its worker. It rises before latency does.", *quantiles("fanfare_scheduler_delay_seconds", 0.99, by="pod")),
        heat("Scheduler delay, spread", "WorkersLate", "A second band is one worker that is busier than the others.", "fanfare_scheduler_delay_seconds"),
    ]),
    ("Limits", [
        line("File descriptors", "short", "FdHeadroom", "Open, and allowed.", ("sum by (pod) (process_open_fds{job=\"fanfare\", $S})", "{{pod}} open"), ("sum by (pod) (fanfare_open_files_limit{$S})", "{{pod}} allowed"), ("sum by (pod) (process_max_fds{job=\"fanfare\", $S})", "{{pod}} soft limit at the kernel"), width=8),
        line("File descriptors in use", "percentunit", "FdHeadroom", "The alert comes at 80 %.", ("sum by (pod) (process_open_fds{job=\"fanfare\", $S}) / sum by (pod) (fanfare_open_files_limit{$S})", "{{pod}}"), width=8, maximum=1),
        line("Backlog", "bytes", "OutboxNearCap", "Memory that clients' slowness takes, against limits.backlog_bytes, 256 MiB by default.", ("sum by (pod) (fanfare_backlog_bytes{$S})", "{{pod}}"), width=8),
        line("Unfinished input", "bytes", "OutboxNearCap", "Memory of messages that are here in part, or wait for a command before them, against limits.inbound_bytes, 256 MiB by default.", ("sum by (pod) (fanfare_inbound_bytes{$S})", "{{pod}}"), width=8),
        line("Closed for unfinished input", "ops", "OutboxNearCap", "A message took longer than limits.message_timeout (late), or the node held too much of such (shed).", (rate("fanfare_unfinished_input_total", "action"), "{{action}}"), width=8),
        line("Outboxes", "bytes", "OutboxNearCap", "What waits to be written, each client's part counted.", ("sum by (pod) (fanfare_outbox_bytes{$S})", "{{pod}}"), width=8),
        line("Outbox per connection", "bytes", "OutboxNearCap", "Against limits.outbox_bytes, 256 KiB by default.", ("sum by (pod) (fanfare_outbox_bytes{$S}) / sum by (pod) (fanfare_connections{$S} > 0)", "{{pod}}"), width=8),
        line("Certificates", "s", "CertificateExpiring", "What is left until the first of a port's chain runs out. 0: no node speaks TLS.", ("(min by (port) (fanfare_tls_certificate_expiration_timestamp_seconds{$S} > 0) - time()) or on() vector(0)", "{{port}}"), width=8),
        line("Threads", "short", "WorkersLate", "Workers and a few more.", ("sum by (pod) (process_threads{job=\"fanfare\", $S})", "{{pod}}"), width=8),
        line("Connections and their limit", "short", "FdHeadroom", "The limit is limits.connections, or what the file descriptors leave for clients.", ("sum by (pod) (fanfare_connections{$S})", "{{pod}} open"), ("sum by (pod) (fanfare_connections_limit{$S})", "{{pod}} limit"), width=8),
        line("Handshakes, refusals, internal connections", "short", "HandshakeFailures", "Under way, against the bound of each. At it the oldest gives way to the newest.", ("sum by (pod, of) (fanfare_places{$S})", "{{pod}} {{of}}"), ("max by (of) (fanfare_places_limit{$S})", "{{of}} limit"), width=8),
        line("Gave way", "ops", "HandshakeFailures", "Silent or slow sockets that were let go of for others.", (rate("fanfare_displaced_total", "of"), "{{of}}"), width=8),
        line("Accept failures", "ops", "FdHeadroom", "By port. Anything but 0: something else takes the node's file descriptors.", (rate("fanfare_accept_failures_total", "port"), "{{port}}"), width=8),
        line("Rate limited", "ops", "HandshakeFailures", "Commands refused because a connection used up a limit, by which.", (rate("fanfare_rate_limited_total", "limit"), "{{limit}}"), width=8),
        line("Questions to the application", "ops", "HandshakeFailures", "Whether a client may connect, join or publish, by how they ended. Late, failed and crowded ones had no answer.", (rate("fanfare_hook_questions_total", "hook, outcome"), "{{hook}} {{outcome}}"), width=8),
        line("Its answers, p99", "s", "HandshakeFailures", "How long the application takes to answer one request, against hooks.timeout.", *quantiles("fanfare_hook_request_seconds", 0.99, by="hook"), width=8),
        line("Joins refused", "ops", "MemoryPerConnectionRising", "The node has as many rooms as limits.rooms.", (rate("fanfare_rooms_refused_total", "pod"), "{{pod}}"), width=8),
        line("Logs in memory", "short", "MemoryPerConnectionRising", "On nodes without Redis.", ("sum by (pod) (fanfare_memory_logs{$S})", "{{pod}}"), width=8),
        line("Bytes of logs in memory", "bytes", "MemoryPerConnectionRising", "On nodes without Redis, against memory.bytes.", ("sum by (pod) (fanfare_memory_log_bytes{$S})", "{{pod}}"), width=8),
        line("Logs forgotten", "ops", "BackendGaps", "On nodes without Redis, at memory.rooms or memory.bytes. Members get a reset.", (rate("fanfare_memory_logs_forgotten_total", "pod"), "{{pod}}"), width=8),
        line("Lines of the log dropped", "ops", "GatewayDown", "Standard error could not be written, or its reader was too slow.", (rate("fanfare_log_lines_dropped_total", "pod"), "{{pod}}"), width=8),
        line("Panics", "ops", "GatewayDown", "Faults in the program. Each ended a connection, or the node.", (rate("fanfare_panics_total", "pod"), "{{pod}}"), width=8),
        line("Age", "s", "GatewayDown", "Since the process began. A drop is a restart.", ("time() - max by (pod) (process_start_time_seconds{job=\"fanfare\", $S})", "{{pod}}"), width=8),
    ]),
    ("Drain", [
        line("Draining", "short", "DrainStuck", "1 while the node moves its clients away.", ("max by (pod) (fanfare_draining{$S})", "{{pod}}"), width=8),
        line("Yet to be moved", "short", "DrainStuck", "Falls in a straight line to 0 over drain.window.", ("sum by (pod) (fanfare_drain_remaining_connections{$S})", "{{pod}}"), width=8),
        line("Moved away", "ops", "DrainStuck", "Connections closed for a restart or for going away.", ('sum by (pod) (rate(fanfare_connections_closed_total{reason=~"restart|going_away", $S}[$__rate_interval]))', "{{pod}}"), width=8),
    ]),
    ("Load", [
        line("Connections", "short", "ConnectionSkew", "Open.", ("sum by (pod) (fanfare_connections{$S})", "{{pod}}"), width=8),
        line("Rooms", "short", "ConnectionSkew", "With local members, or had them just now.", ("sum by (pod) (fanfare_rooms{$S})", "{{pod}}"), width=8),
        line("Deliveries", "ops", "WorkersLate", "Per second.", (rate("fanfare_deliveries_total", "pod"), "{{pod}}"), width=8),
        line("Delivery latency, p99", "s", "DeliveryLatencyBurn", "One node apart from the others is that node's trouble, all together Redis's.", *quantiles("fanfare_delivery_latency_seconds", 0.99, by="pod"), width=8),
        line("Handshakes", "ops", "HandshakeFailures", "Those that opened a WebSocket, and the others.", ('sum by (pod) (rate(fanfare_handshakes_total{result="ok", $S}[$__rate_interval]))', "{{pod}} ok"), ('sum by (pod) (rate(fanfare_handshakes_total{result!~"ok|page", $S}[$__rate_interval]))', "{{pod}} failed"), width=8),
        line("Address space", "bytes", "MemoryPerConnectionRising", "Reserved, not used: it matters where overcommit is off.", ("sum by (pod) (process_virtual_memory_bytes{job=\"fanfare\", $S})", "{{pod}}"), width=8),
    ]),
]  # fmt: skip

BACKEND = [
    ("Link", [
        line("Linked", "short", "BackendDisconnected", "By node and server: 1 while the node's probe comes back through it. At 0 the rooms of that server wait; a node without any is not ready; clients stay.", ("min by (pod, server) (fanfare_backend_connected{$S})", "{{pod}} {{server}}"), maximum=1),
        line("Linked nodes by server", "percentunit", "BackendDisconnected", "Share of the nodes that get through to it. One server below the others: that one. All: the network.", ("avg by (server) (fanfare_backend_connected{$S})", "{{server}}"), maximum=1),
        line("Refusing", "short", "BackendRefusesWrites", "By node and server: 1 while the server answers and refuses what the node's probe writes.", ("max by (pod, server) (fanfare_backend_refusing{$S})", "{{pod}} {{server}}"), maximum=1),
        line("Refused", "ops", "BackendRefusesWrites", "Commands that a server refused, by why. They were not done.", (rate("fanfare_backend_refused_total", "reason"), "{{reason}}")),
        line("Lost links", "ops", "BackendDisconnected", "By why. Redis itself has no counter for subscribers that it cut off for being slow; this is it.", (rate("fanfare_backend_reconnects_total", "reason"), "{{reason}}"), width=8),
        line("Links lost by node", "short", "BackendDisconnected", "In the chosen time. All nodes: Redis. One node: its network.", ("sum by (pod) (increase(fanfare_backend_reconnects_total{$S}[$__range]))", "{{pod}}"), width=8),
        line("Links lost by server", "short", "BackendDisconnected", "In the chosen time, by all nodes.", ("sum by (server) (increase(fanfare_backend_reconnects_total{$S}[$__range]))", "{{server}}"), width=8),
    ]),
    ("Round trip", [
        line("Probe's round trip", "s", "DeliveryLatencyBurn", "The message that each node sends itself through Redis, on the connections that matter.", *quantiles("fanfare_backend_lag_seconds", 0.5, 0.99, 0.999)),
        heat("Probe's round trip, spread", "DeliveryLatencyBurn", "Stripes at regular times are Redis's own work: a fork, an expiry, a slow command.", "fanfare_backend_lag_seconds"),
        line("Probe's round trip by node, p99", "s", "DeliveryLatencyBurn", "One node apart from the others is that node's network or CPU.", *quantiles("fanfare_backend_lag_seconds", 0.99, by="pod")),
        line("Publish to Redis", "s", "DeliveryLatencyBurn", "From a publish to Redis's answer, its wait for the pipeline included.", *quantiles("fanfare_backend_publish_seconds", 0.5, 0.99, 0.999)),
        heat("Publish to Redis, spread", "DeliveryLatencyBurn", "Up while the probe stays: the pipeline is full. Both up: Redis or the network.", "fanfare_backend_publish_seconds"),
        line("Publishes to Redis", "ops", "DeliveryLatencyBurn", "Answered, per second.", (rate("fanfare_backend_publish_seconds_count", "pod"), "{{pod}}"), stack=True),
    ]),
    ("Presence", [
        line("Members", "short", "ConnectionSkew", "Memberships in rooms that keep presence.", ("sum by (pod) (fanfare_presence_members{$S})", "{{pod}}"), width=8, stack=True),
        line("Entered and exited", "ops", "ReconnectStorm", "Each is one call to Redis.", (rate("fanfare_presence_changes_total", "change"), "{{change}}"), width=8),
        line("Taken for gone", "short", "LeaseLost", "In the chosen time: members of nodes that were gone, taken out by others; and nodes that were taken for gone though they lived.", ("sum(increase(fanfare_presence_reaped_total{$S}[$__range]))", "members"), ("sum by (pod) (increase(fanfare_presence_leases_lost_total{$S}[$__range]))", "{{pod}} lived"), width=8),
    ]),
    ("Whole or not", [
        line("Gaps", "ops", "BackendGaps", "Seen by offsets, healed from the log, or not.", (rate("fanfare_backend_gaps_total", "outcome"), "{{outcome}}"), width=8),
        line("Unhealed gaps by node", "short", "BackendGaps", "In the chosen time.", ('sum by (pod) (increase(fanfare_backend_gaps_total{outcome="unhealed", $S}[$__range]))', "{{pod}}"), width=8),
        line("Skipped", "ops", "BackendSkipped", "`newer`: of a version that this node does not know. `malformed`: of something else that writes to these keys.", (rate("fanfare_backend_skipped_total", "reason"), "{{reason}}"), width=8),
    ]),
]  # fmt: skip


def k6(metric, q):
    """A quantile of one of k6's trends, which arrive as native histograms."""
    return f"histogram_quantile({q}, sum(rate(k6_{metric}_seconds{RATE})))"


LOADTEST = [
    ("Verdict", [
        number("Lost", "short", "BackendGaps", "Messages that a subscriber never got.", "sum(k6_lost_total) or vector(0)"),
        number("Duplicates", "short", "BackendGaps", "Messages that a subscriber got again.", "sum(k6_duplicates_total) or vector(0)"),
        number("Out of order", "short", "BackendGaps", "Messages that came after a later one of the same publisher.", "sum(k6_out_of_order_total) or vector(0)"),
        number("Delivered", "short", "DeliveryLatencyBurn", "Messages that reached a subscriber: 0 would make every other figure worthless.", "sum(k6_delivered_total)"),
        number("Handshakes failed", "short", "HandshakeFailures", "As the clients saw it.", "sum(k6_connect_failures_total) or vector(0)"),
        number("Generator delay, p99", "s", "WorkersLate", "From reading a message to seeing it. High, and the run says nothing about the server.", k6("generator_delay", 0.99)),
    ]),
    ("Both sides", [
        line("Latency, p99", "s", "DeliveryLatencyBurn", "The clients' figure holds the network, the balancer, and the generator's own delay.", (k6("delivery_latency", 0.99), "clients"), (quantiles("fanfare_delivery_latency_seconds", 0.99)[0][0], "server"), (k6("generator_delay", 0.99), "the generator's own")),
        line("Latency, median", "s", "DeliveryLatencyBurn", "The same in the middle.", (k6("delivery_latency", 0.5), "clients"), (quantiles("fanfare_delivery_latency_seconds", 0.5)[0][0], "server")),
        line("Deliveries", "ops", "SlowConsumerSurge", "They part where clients cannot keep up.", (f"sum(rate(k6_delivered_total{RATE}))", "clients"), (rate("fanfare_deliveries_total"), "server")),
        line("Publishes", "ops", "HandshakeFailures", "They part where clients publish again after a lost answer.", (f"sum(rate(k6_published_total{RATE}))", "clients"), (rate("fanfare_publishes_total"), "server")),
        line("Connections", "short", "ReconnectStorm", "All that clients opened in the run, and those open now. Apart: clients that came again.", ("sum(last_over_time(k6_connected_total[$__range]))", "opened by clients"), ("sum(fanfare_connections{$S})", "open on the servers")),
        line("Answer to a publish, p99", "s", "DeliveryLatencyBurn", "Against the server's time at Redis.", (k6("publish_ack", 0.99), "clients"), (quantiles("fanfare_backend_publish_seconds", 0.99)[0][0], "server, at Redis")),
    ]),
    ("Load", [
        line("Virtual users", "short", "ConnectionSkew", "One holds many sockets.", ("sum(k6_vus)", "virtual users"), width=8),
        line("Time to connect, p99", "s", "HandshakeFailures", "From opening a socket to the welcome; on the server, to the handshake's end.", ("histogram_quantile(0.99, sum(k6_connect_time_seconds))", "clients"), (quantiles("fanfare_handshake_duration_seconds", 0.99)[0][0], "server"), width=8),
        line("Connections by node", "short", "ConnectionSkew", "How the balancer spreads them.", ("sum by (pod) (fanfare_connections{$S})", "{{pod}}"), width=8, stack=True),
        line("Server CPU", "short", "WorkersLate", "Cores in use.", ("sum by (pod) (rate(fanfare_cpu_seconds_total{job=\"fanfare\", $S}[$__rate_interval]))", "{{pod}}"), width=8, stack=True),
        line("Server memory", "bytes", "MemoryPerConnectionRising", "Resident.", ("sum by (pod) (process_resident_memory_bytes{job=\"fanfare\", $S})", "{{pod}}"), width=8, stack=True),
        line("Closes by reason", "ops", "ReconnectStorm", "As the server saw it.", (rate("fanfare_connections_closed_total", "reason"), "{{reason}}"), width=8),
    ]),
]  # fmt: skip

DASHBOARDS = {
    "overview": ("Fanfare / Overview", "Is anything lost, late or refused?", OVERVIEW),
    "node": ("Fanfare / Nodes", "What a node uses, what it has left, and how its drain goes.", NODE),
    "backend": ("Fanfare / Backend", "The link between nodes through Redis.", BACKEND),
    "loadtest": ("Fanfare / Load test", "What k6's clients see beside what the server says.", LOADTEST),
}


def finish(spec):
    """A panel with what all have in common."""
    panel, title, unit, runbook, why, queries, width, height = spec
    panel.title(title).unit(unit).datasource(SOURCE).span(width).height(height)
    panel.description(f"{why}\n\nRunbook: {runbook}")
    panel.links([dashboard.DashboardLink(f"Runbook: {runbook}").url(f"${{runbooks}}/{runbook}.md")])
    for index, (expression, legend) in enumerate(queries):
        query = (
            prometheus.Dataquery()
            .ref_id(chr(ord("A") + index))
            .datasource(SOURCE)
            .expr(expression.replace("$S", SELECTOR))
            .legend_format(legend)
        )
        if isinstance(panel, heatmap.Panel):
            query.format(PromQueryFormat.HEATMAP)
        panel.with_target(query)
    return panel


def label_variable(name, label, query):
    """A choice among a label's values; all by default, targets without the label included."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard_option("All", "$__all"))
    )


def dashboard_option(text, value):
    from grafana_foundation_sdk.models.dashboard import VariableOption

    return VariableOption(selected=True, text=text, value=value)


def build(name):
    """One dashboard."""
    title, why, rows = DASHBOARDS[name]
    within = 'cluster=~"$cluster"'
    board = (
        dashboard.Dashboard(title)
        .uid(f"fanfare-{name}")
        .description(why)
        .tags(["fanfare"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("Fanfare")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["fanfare"])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(label_variable("cluster", "Cluster", "label_values(fanfare_build_info, cluster)"))
        .with_variable(
            label_variable("namespace", "Namespace", f"label_values(fanfare_build_info{{{within}}}, namespace)")
        )
        .with_variable(
            label_variable(
                "pod", "Pod", f'label_values(fanfare_build_info{{{within}, namespace=~"$namespace"}}, pod)'
            )
        )
        .with_variable(
            dashboard.ConstantVariable("runbooks").value("deploy/runbooks")
        )
    )
    ids = itertools.count(1)
    for row, panels in rows:
        board.with_row(dashboard.Row(row).id(next(ids)))
        for panel in panels:
            board.with_panel(finish(panel).id(next(ids)))
    return board.build()


def render():
    """Name → JSON."""
    return {name: JSONEncoder(sort_keys=True, indent=2).encode(build(name)) + "\n" for name in DASHBOARDS}
