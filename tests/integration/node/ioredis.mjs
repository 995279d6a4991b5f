// ioredis against W and R: node ioredis.mjs WRITER PORT READER PORT; prints what a test compares, as JSON.
import Redis from "ioredis";

const [wHost, wPort, rHost, rPort] = process.argv.slice(2);
const writer = { host: wHost, port: Number(wPort) };
const reader = { host: rHost, port: Number(rPort) };
const open = (where, more) => new Redis({ ...where, maxRetriesPerRequest: 1, ...more });
const found = {};

async function through(protocol) {
  const w = open(writer, { protocol, connectionName: "truck" });
  const r = open(reader, { protocol });
  const got = (found[`RESP${protocol}`] = {});
  got.set = await w.call("SET", "fleet", "a", "FIELD", "speed", "5", "POINT", "33", "-115");
  const pipeline = w.pipeline();
  for (let i = 0; i < 100; i++) pipeline.call("SET", "fleet", `t${i}`, "POINT", "33", "-115");
  got.pipeline = (await pipeline.exec()).filter(([problem, reply]) => !problem && reply === "OK").length;
  got.missing = await w.call("GET", "fleet", "nobody");
  got.name = await w.client("GETNAME");
  while ((await r.call("WITHIN", "fleet", "COUNT", "BOUNDS", "0", "-180", "90", "0")) < 101);
  got.nearby = (await r.call("NEARBY", "fleet", "LIMIT", "3", "IDS", "POINT", "33", "-115"))[1].length;
  got.refused = await r.call("SET", "fleet", "a", "POINT", "1", "1").catch((problem) => problem.message);

  const listener = open(reader, { protocol });
  const heard = new Promise((told) => listener.on("message", (channel, message) => told([channel, message])));
  await listener.subscribe("news");
  const shout = setInterval(() => w.publish("news", "hello"), 50);
  got.heard = await heard;
  clearInterval(shout);
  await w.call("DROP", "fleet");
  for (const client of [w, r, listener]) client.disconnect();
}

await through(2);
await through(3);
console.log(JSON.stringify(found));
