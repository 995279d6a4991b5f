// The npm client "tile38" against W and R: node tile38.mjs WRITER PORT READER PORT; prints what it got, as JSON.
import Tile38 from "tile38";

const [wHost, wPort, rHost, rPort] = process.argv.slice(2);
const w = new Tile38({ host: wHost, port: Number(wPort) });
const r = new Tile38({ host: rHost, port: Number(rPort) });
const found = {};
const seconds = (n) => new Promise((over) => setTimeout(over, n * 1000));

found.set = await w.set("fleet", "truck1", [33, -115], { speed: 5 });
for (;;) {
  try {
    found.get = (await r.get("fleet", "truck1")).object;
    break;
  } catch {
    await seconds(0.05);
  }
}
found.nearby = (await r.nearbyQuery("fleet").point(33, -115, 1000).ids().execute()).ids;

const fence = (client) =>
  new Promise((told) => {
    const live = client.intersectsQuery("fleet").detect("enter").bounds(30, -120, 40, -110);
    const stream = live.executeFence((problem, event) => {
      stream.close();
      told([problem, event.id, event.detect]);
    });
    stream.onClose(() => {});
  });
for (const [name, client] of Object.entries({ w, r })) {
  const heard = fence(client);
  const move = setInterval(async () => {
    await w.set("fleet", "truck2", [0, 0]);
    await w.set("fleet", "truck2", [33, -115]);
  }, 100);
  found[`fence of ${name}`] = await heard;
  clearInterval(move);
  await seconds(0.2);
}
await w.drop("fleet");
console.log(JSON.stringify(found));
process.exit(0);
