// From the measurements' JSON lines to a table (Markdown), a chart (SVG) and the raw output.
//
//   node report.cjs LINES COMMIT OUT

const { existsSync, readFileSync, writeFileSync } = require("node:fs");
const { dirname, join } = require("node:path");

const [, , linesFile, commit, out] = process.argv;
const runs = readFileSync(linesFile, "utf8").trim().split("\n").map((line) => JSON.parse(line));

function title(run) {
  const { plan } = run;
  if (run.scenario === "idle") return `idle, ${run.connections} connections`;
  const rooms = plan.rooms === 1 ? "1 room" : `${plan.rooms} rooms`;
  const burst = plan.burst === 1 ? "" : `, bursts of ${plan.burst}`;
  return `${rooms} × ${plan.members} members${burst}`;
}

const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const fixed = (value, digits) => (value == null ? "–" : value.toFixed(digits));

function table(run) {
  if (run.scenario === "idle") {
    const rows = run.servers.map(
      (s) =>
        `| ${s.server} | ${fixed(s.empty / 2 ** 20, 1)} | ${fixed(s.fresh_per_connection / 1000, 2)} | ` +
        `${fixed(s.used_per_connection / 1000, 2)} | ${fixed(s.cpu_per_handshake, 1)} |`,
    );
    return [
      "| server | empty, MiB | KB each, fresh | KB each, after traffic | handshake, CPU µs |",
      "|---|---|---|---|---|",
      ...rows,
    ];
  }
  const rows = run.servers.map((s) => {
    const [low, high] = s.ratio_spread ?? [null, null];
    return (
      `| ${s.server} | ${fixed(s.cpu_per_delivery, 2)} | ${fixed(s.user_per_delivery, 2)} | ` +
      `${fixed(s.ratio, 2)} | ${fixed(low, 2)}–${fixed(high, 2)} | ${fixed(s.latency.p50, 0)} | ` +
      `${fixed(s.latency.p99, 0)} | ${s.rounds.at(-1).frame_bytes} |`
    );
  });
  return [
    "| server | CPU µs per delivery | of which user | ÷ floor | range | p50 µs | p99 µs | frame, B |",
    "|---|---|---|---|---|---|---|---|",
    ...rows,
  ];
}

function chart() {
  const delivery = runs.filter((run) => run.scenario !== "idle");
  const [barHeight, gap, left, width] = [20, 6, 170, 420];
  const parts = [];
  let y = 56;
  for (const run of delivery) {
    const servers = run.servers.filter((s) => s.ratio != null).sort((a, b) => a.ratio - b.ratio);
    const most = Math.max(...servers.map((s) => s.ratio));
    parts.push(`<text class="head" x="16" y="${y}">${escape(title(run))}</text>`);
    y += 12;
    for (const s of servers) {
      const length = Math.max(2, (s.ratio / most) * width);
      const kind = s.server.startsWith("fanfare") ? "ours" : s.server.startsWith("floor") ? "floor" : "peer";
      parts.push(
        `<text class="name" x="${left - 10}" y="${y + 15}">${escape(s.server)}</text>`,
        `<rect class="${kind}" x="${left}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" rx="3"/>`,
        `<text class="value" x="${left + length + 8}" y="${y + 15}">${fixed(s.ratio, 2)}</text>`,
      );
      y += barHeight + gap;
    }
    y += 26;
  }
  const style = `
    text{font:13px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}.name{text-anchor:end}
    .title{font-size:16px;font-weight:600}.ours{fill:#0f766e}.floor{fill:#cbd5e1}.peer{fill:#94a3b8}`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 ${y}" width="680" height="${y}">` +
    `<style>${style}</style><rect width="680" height="${y}" fill="#fff"/>` +
    `<text class="title" x="16" y="28">Server CPU time per delivery ÷ the floor's (shorter is better)</text>` +
    `${parts.join("")}</svg>\n`
  );
}

// The peers' versions, as installed beside the measurements.
function versions() {
  const packages = join(dirname(linesFile), "node_modules");
  const found = ["ws", "socket.io", "@socket.io/redis-adapter", "bun"]
    .map((name) => [name, join(packages, name, "package.json")])
    .filter(([, file]) => existsSync(file))
    .map(([name, file]) => `${name} ${JSON.parse(readFileSync(file, "utf8")).version}`);
  return [`Node.js ${process.versions.node}`, ...found].join(", ");
}

const { machine } = runs[0];
const markdown = [
  "# Fanfare beside its peers",
  "",
  `Commit ${commit}; \`loadtest/compare/run\`; ${machine.cores} × ${machine.cpu}, ` +
    `${Math.round(machine.memory_mib / 1024)} GiB, Linux ${machine.kernel}; load average ${machine.load} at ` +
    `the first run's end. ${versions()}.`,
  "",
  "Medians of interleaved rounds; the same clients drove all of them. Fanfare speaks its real protocol, in",
  "JSON with room, sender, time and offset, and has history, heartbeats and metrics on; `ws` and Bun pass on",
  "the payload as it came, hence their smaller frames, and keep nothing. With Redis, only the servers' own CPU",
  "time counts, not Redis'.",
  "",
  "![CPU time per delivery](compare.svg)",
  ...runs.flatMap((run) => ["", `## ${title(run)}`, "", `\`${run.command.replace(/ --peer.*/, "")}\``, "", ...table(run)]),
  "",
].join("\n");

writeFileSync(`${out}.md`, markdown);
writeFileSync(`${out}.svg`, chart());
writeFileSync(`${out}.json`, JSON.stringify({ commit, runs }, null, 1) + "\n");
