// The client of `clients/js` on the package `ws`: `node moorline.mjs URL COUNT` prints so many events.

import WebSocket from "ws";
import { connect } from "../../clients/js/moorline.min.js";

const [url, count] = process.argv.slice(2);
globalThis.WebSocket = WebSocket;
setTimeout(() => { throw new Error("not done in time"); }, 30_000).unref();

let heard = 0;
const link = connect(url, {
  firstRetry: 50,
  onevent: (name, data) => {
    console.log(name, data);
    if (++heard === Number(count)) link.close();
  },
});
