// MQTT.js over WebSocket: `node mqtt.mjs URL`.

import assert from "node:assert/strict";
import { once } from "node:events";
import mqtt from "mqtt";

const [url] = process.argv.slice(2);
setTimeout(() => { throw new Error("not done in time"); }, 30_000).unref();

const client = await mqtt.connectAsync(url, { protocolVersion: 4, reconnectPeriod: 0 });
assert.equal(client.stream.socket?.protocol ?? "mqtt", "mqtt");
await client.subscribeAsync("harbour/1");
client.publish("harbour/1", "ahoy");
const [topic, payload] = await once(client, "message");
assert.deepEqual([topic, payload.toString()], ["harbour/1", "ahoy"]);
// Resolves when it is acknowledged.
await client.publishAsync("harbour/1", "at least once", { qos: 1 });
await client.endAsync();
console.log("published");
