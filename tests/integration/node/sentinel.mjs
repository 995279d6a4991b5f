// ioredis by Sentinel: node sentinel.mjs NAME PORT HOST...; prints where it was led, as JSON.
import Redis from "ioredis";

const [name, port, ...hosts] = process.argv.slice(2);
const sentinels = hosts.map((host) => ({ host, port: Number(port) }));
const writer = new Redis({ sentinels, name, failoverDetector: true, maxRetriesPerRequest: 5 });
const reader = new Redis({ sentinels, name, role: "slave", maxRetriesPerRequest: 5 });
const found = { set: await writer.call("SET", "by-sentinel", "a", "POINT", "33", "-115") };
while ((await reader.call("GET", "by-sentinel", "a")) === null);
const place = (client) => `${client.stream.remoteAddress}:${client.stream.remotePort}`;
found.writer = place(writer);
found.reader = place(reader);
await writer.call("DROP", "by-sentinel");
for (const client of [writer, reader]) client.disconnect();
console.log(JSON.stringify(found));
