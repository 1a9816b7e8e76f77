// graphql-ws, whose subprotocol is `graphql-transport-ws`: `node graphql.mjs URL`.

import assert from "node:assert/strict";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url] = process.argv.slice(2);
setTimeout(() => { throw new Error("not done in time"); }, 30_000).unref();

const client = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0 });
const answers = [];
await new Promise((complete, error) => {
  client.subscribe({ query: "subscription { ships }" }, { next: (it) => answers.push(it), error, complete });
});
assert.deepEqual(answers, [{ data: { asked: "subscription { ships }" } }]);
await client.dispose();
console.log("subscribed");
