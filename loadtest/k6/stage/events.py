"""What happens to the nodes while the load runs, and what is seen of it from the server's side."""

import signal
import threading
import time

#: Between two looks at the nodes' metrics, in seconds.
LOOK = 0.1


#: How much more memory a node may hold late in a soak than early, by factor and bytes at least.
MOST_GROWTH = 1.5
GROWTH_FLOOR = 32 << 20

#: How even the connections must be in the end: the fullest node over the mean.
MOST_SKEW = 1.2


class Watch(threading.Thread):
    """Reads the nodes' metrics while the load runs."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.over = threading.Event()
        #: (seconds, connections of each node, bytes resident of each node)
        self.samples = []

    def run(self):
        while not self.over.wait(LOOK):
            seen = [node.metrics() for node in self.nodes]
            connections = [int(series.get("fanfare_connections", 0)) for series in seen]
            resident = [int(series.get("process_resident_memory_bytes", 0)) for series in seen]
            self.samples.append((time.monotonic(), connections, resident))

    def stop(self):
        self.over.set()
        self.join()

    def report(self, staged):
        """What was seen, and what of it breaks a promise."""
        problems = [staged["problem"]] if "problem" in staged else []
        busy = self._last_busy()
        if busy is None:
            return staged, problems
        at, connections, resident = busy
        seen = dict(staged, nodes=[node.name for node in self.nodes], connections=connections,
                    resident=resident, skew=skew(connections))
        if staged.get("soak"):
            problems += self._growth(seen)
        if "restarts" not in staged:
            return seen, problems
        for index, restart in enumerate(staged["restarts"]):
            restart["drain_seconds"] = restart["drained"] - restart["began"]
            restart["spread"] = drain_spread(self.samples, index, restart)
            if restart["exit"] != 0:
                problems.append(f"{restart['node']}: exit {restart['exit']} after its drain")
        if staged["restarts"][-1]["back"] > at:
            problems.append("restarts: the load ended before the last one did")
        if seen["skew"] > MOST_SKEW:
            problems.append(f"skew: {seen['skew']:.2f}, at most {MOST_SKEW}")
        return seen, problems

    def _growth(self, seen):
        """Compares each node's memory in the second fifth of the run with that in the last."""
        fifth = max(1, len(self.samples) // 5)
        problems = []
        early = self._mean_resident(self.samples[fifth : 2 * fifth])
        late = self._mean_resident(self.samples[-fifth:])
        seen["resident_early"], seen["resident_late"] = early, late
        for node, before, after in zip(self.nodes, early, late):
            if after > max(before * MOST_GROWTH, before + GROWTH_FLOOR):
                problems.append(f"{node.name}: memory grew from {before} to {after} bytes")
        return problems

    def _mean_resident(self, samples):
        columns = zip(*(resident for _, _, resident in samples))
        return [int(sum(column) / len(samples)) for column in columns]

    def _last_busy(self):
        """The last look before the clients went away: when nearly all were connected."""
        most = max((sum(connections) for _, connections, _ in self.samples), default=0)
        whole = [sample for sample in self.samples if sum(sample[1]) >= max(1, 0.98 * most)]
        return whole[-1] if whole else None


def publishing(nodes):
    """Whether messages flow."""
    return any(node.metrics().get("fanfare_publishes_total", 0) > 0 for node in nodes)


def wait_until_publishing(nodes, load):
    """Waits for the first message, or for the load to end without one."""
    while load.running() and not publishing(nodes):
        time.sleep(0.1)


def rolling_restart(nodes, number=signal.SIGTERM):
    """Restarts the nodes one after the other; yields what each took."""
    for node in nodes:
        held = int(node.metrics().get("fanfare_connections", 0))
        began = time.monotonic()
        code = node.stop(number)
        drained = time.monotonic()
        node.start()
        # The balancer has to see it, and its clients to come, before the next one goes.
        back = time.monotonic()
        time.sleep(3)
        yield {
            "node": node.name,
            "connections": held,
            "began": began,
            "drained": drained,
            "back": back,
            "exit": code,
        }


def redis_outage(redis, seconds):
    """Stops Redis and starts it again with the same data."""
    began = time.monotonic()
    code = redis.stop()
    time.sleep(seconds)
    redis.start()
    return {"began": began, "back": time.monotonic(), "seconds": seconds, "exit": code}


def drain_spread(samples, index, restart):
    """
    How evenly a drain closed connections: over how many seconds the middle 80% of them went, and
    the largest share that went within one tenth of the time from the first to the last.
    """
    falling = [
        (at, connections[index])
        for at, connections, _ in samples
        if restart["began"] - LOOK <= at <= restart["drained"] + LOOK
    ]
    closes = [
        (at, before - after)
        for (_, before), (at, after) in zip(falling, falling[1:])
        if before > after
    ]
    total = sum(count for _, count in closes)
    if total == 0:
        return {"closed": 0, "seconds": 0.0, "busiest_tenth": 0.0}
    gone, marks = 0, {}
    for at, count in closes:
        gone += count
        for share in (0.1, 0.9):
            if gone >= share * total:
                marks.setdefault(share, at)
    length = max(closes[-1][0] - closes[0][0], LOOK)
    tenth = max(length / 10, LOOK)
    busiest = max(
        sum(count for at, count in closes if start <= at < start + tenth) for start, _ in closes
    )
    return {
        "closed": total,
        "seconds": marks[0.9] - marks[0.1],
        "busiest_tenth": busiest / total,
    }


def skew(connections):
    """The fullest node's connections over the mean; 1 is even."""
    mean = sum(connections) / len(connections)
    return max(connections) / mean if mean else None
