// The package `ws`: `node ws.mjs URL EXTENSION`, where EXTENSION is what must be agreed on when it is offered.

import assert from "node:assert/strict";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import WebSocket from "ws";

const [url, agreed = ""] = process.argv.slice(2);
setTimeout(() => { throw new Error("not done in time"); }, 60_000).unref();

const SIZES = [0, 1, 16, 64, 125, 126, 256, 1024, 4096, 8192, 16384, 32768, 65535, 65536, 131072, 1 << 20];
const OFFERS = [
  false,
  true,
  { serverNoContextTakeover: true },
  { clientNoContextTakeover: true },
  { serverNoContextTakeover: true, clientNoContextTakeover: true },
  { clientMaxWindowBits: 9, serverMaxWindowBits: 9 },
  { clientMaxWindowBits: 12, serverMaxWindowBits: 15, serverNoContextTakeover: true },
];

for (const offer of OFFERS) {
  const socket = new WebSocket(url, { perMessageDeflate: offer && { threshold: 0, ...(offer === true ? {} : offer) } });
  const messages = [];
  let wake = () => {};
  socket.on("message", (data, binary) => { messages.push(binary ? data : data.toString()); wake(); });
  const answer = async () => {
    while (!messages.length) await new Promise((resolve) => { wake = resolve; });
    return messages.shift();
  };
  await once(socket, "open");
  assert.equal(socket.extensions, offer ? agreed : "");

  for (const size of SIZES) {
    const text = JSON.stringify({ words: "Grüße, 世界 ".repeat(size / 16) });
    const bytes = randomBytes(size);
    // Many at once, then their answers in order.
    for (let round = 0; round < 4; round++) for (const it of [text, bytes]) socket.send(it);
    for (let round = 0; round < 4; round++) for (const it of [text, bytes]) assert.deepEqual(await answer(), it);
  }
  for (const [part, fin] of [["one, ", false], ["two, ", false], ["three", true]]) socket.send(part, { fin });
  assert.equal(await answer(), "one, two, three");
  socket.ping("are you there");
  assert.equal(String((await once(socket, "pong"))[0]), "are you there");

  socket.send("the last words");
  socket.close(4001, "enough");
  const [code] = await once(socket, "close");
  assert.deepEqual([code, await answer()], [4001, "the last words"]);
}
console.log(`${OFFERS.length} offers`);
