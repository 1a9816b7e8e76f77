// The client against a scripted WebSocket, EventSource and clock: `node --test clients/js/`.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const { connect } = await import(process.env.MOORLINE_JS ?? "./moorline.js");

let sources; // all that the client has opened
let timers; // what it waits for
let now;
let random;
let online; // what it does when the network is back

class Source {
  readyState = 0;
  bufferedAmount = 0;
  sent = [];
  names = {};
  constructor(url, protocol) {
    Object.assign(this, { url: String(url), protocol });
    sources.push(this);
  }
  addEventListener(name, listener) { this.names[name] = listener; }
  send(data) { this.sent.push(data); }
  close() { this.readyState = 3; }
  opens() { this.readyState = 1; this.onopen(); }
  ends(code) { this.readyState = 3; this.onclose({ code }); }
  says(data) { this.onmessage({ data: typeof data === "string" || data instanceof ArrayBuffer ? data : JSON.stringify(data) }); }
}

beforeEach(() => {
  [sources, timers, now, random, online] = [[], [], 0, 1, undefined];
  globalThis.location = { href: "https://a.example/page/" };
  globalThis.WebSocket = globalThis.EventSource = class extends Source {};
  globalThis.setTimeout = (run, after) => timers.push({ run, after }) && timers.at(-1);
  globalThis.clearTimeout = (timer) => { timers = timers.filter((it) => it !== timer); };
  globalThis.addEventListener = (_, run) => { online = run; };
  globalThis.removeEventListener = (_, run) => { if (online === run) online = undefined; };
  Date.now = () => now;
  Math.random = () => random;
});

const last = () => sources.at(-1);

/** Waits for the next attempt, and says how long that takes. */
function waited() {
  assert.equal(timers.length, 1);
  const [{ run, after }] = timers;
  now += after;
  run();
  return after;
}

test("addresses follow the page, and the protocol says what envelopes are", () => {
  connect("/ws");
  assert.deepEqual([last().url, last().protocol], ["wss://a.example/ws", "moorline.resume.v1"]);
  connect("chat?room=a:b", { lastId: "7-1&" });
  assert.equal(last().url, "wss://a.example/page/chat?room=a:b&last_event_id=7-1%26");
  connect("http://b.example/x");
  assert.equal(last().url, "ws://b.example/x");
  connect("/events", { sse: true });
  assert.deepEqual([last().url, last().protocol], ["https://a.example/events", undefined]);
});

test("messages, events, gaps and bytes go to their handlers", () => {
  const seen = [];
  const link = connect("/ws", {
    onmessage: (...all) => seen.push(["message", ...all]),
    onevent: (...all) => seen.push(["event", ...all]),
    ongap: (...all) => seen.push(["gap", ...all]),
  });
  last().opens();
  const bytes = new ArrayBuffer(3);
  for (const it of [{ data: "a" }, { id: "7-1", data: "" }, { id: "7-2", event: "said", data: "b" }, { gap: "room" }, bytes]) last().says(it);
  assert.deepEqual(seen, [
    ["message", "a", undefined], ["message", "", "7-1"], ["event", "said", "b", "7-2"], ["gap", "room"], ["message", bytes, undefined],
  ]);
  assert.equal(link.lastId, "7-2");
});

test("a connection that breaks is resumed after its last event", () => {
  const states = [];
  connect("/ws", { onstate: (state, cause) => states.push(cause ? [state, cause.code] : state) });
  last().opens();
  last().says({ id: "7-1", data: "a" });
  last().says({ data: "without an id" });
  last().ends(1006);
  waited();
  assert.equal(last().url, "wss://a.example/ws?last_event_id=7-1");
  assert.deepEqual(states, ["connecting", "open", ["waiting", 1006], "connecting"]);
});

test("waits are random, double up to a longest one, and begin anew after a connection that lasted", () => {
  connect("/ws", { firstRetry: 100, lastRetry: 1000 });
  const waits = [1, 1, 0.5, 1, 1, 1].map((it) => {
    random = it;
    last().ends();
    return waited();
  });
  assert.deepEqual(waits, [100, 200, 200, 800, 1000, 1000]);
  // Accepted and cut off again is no success.
  last().opens();
  last().ends();
  assert.equal(waited(), 1000);
  last().opens();
  now += 1001;
  last().ends();
  assert.equal(waited(), 100);
});

test("a network that is back is tried at once, and only by one connection", () => {
  connect("/ws");
  online();
  assert.equal(sources.length, 1);
  last().ends();
  online();
  online();
  assert.deepEqual([sources.length, timers.length], [2, 0]);
});

test("what is said without a connection waits for it, up to a bound", () => {
  const link = connect("/ws", { maxQueued: 2 });
  assert.deepEqual(["a", "b", "c"].map(link.send), [true, true, false]);
  link.onstate = (state) => state === "open" && link.send("said when open");
  last().opens();
  assert.deepEqual(last().sent, ["a", "b", "said when open"]);
  last().readyState = 2;
  assert.equal(link.send("d"), true);
  last().ends();
  waited();
  last().opens();
  assert.deepEqual(last().sent, ["d", "said when open"]);
  last().bufferedAmount = 2e6;
  assert.equal(link.send("e"), false);
});

test("close ends it for good", () => {
  for (const sse of [false, true]) {
    const link = connect("/ws", { sse });
    last().opens();
    link.close();
    last().ends(1000);
    assert.deepEqual([link.state, last().readyState, timers.length, online, link.send("a")], ["closed", 3, 0, undefined, false]);
    const waiting = connect("/ws", { sse });
    sse ? last().onerror({}) : last().ends();
    waiting.close();
    assert.equal(timers.length, 0);
  }
});

test("server-sent events have names, ids and gaps, and reconnect by the same rule", () => {
  const seen = [];
  const link = connect("/events", { sse: true, events: ["said"], onmessage: (...all) => seen.push(all), onevent: (...all) => seen.push(all), ongap: (...all) => seen.push(all) });
  last().opens();
  last().onmessage({ data: "a", lastEventId: "" });
  last().names.said({ data: "b", lastEventId: "7-1" });
  last().names.gap({ data: "room", lastEventId: "7-1" });
  assert.deepEqual(seen, [["a", ""], ["said", "b", "7-1"], ["room"]]);
  assert.equal(link.send("a"), false);
  last().onerror({});
  assert.equal(last().readyState, 3, "the browser's own reconnect, which waits for no one, is off");
  waited();
  assert.equal(last().url, "https://a.example/events?last_event_id=7-1");
});
