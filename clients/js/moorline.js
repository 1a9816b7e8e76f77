// Keeps a connection to a Moorline server and resumes it after the last event. README.md tells how to use it.
export function connect(address, options) {
  let source, timer, attempts = 0, began = Infinity;
  const queue = [];
  const link = {
    sse: false, events: [], firstRetry: 1e3, lastRetry: 3e4, maxQueued: 64, maxBuffered: 1e6,
    ...options, send, close,
  };
  globalThis.addEventListener?.("online", retry);
  open();
  return link;

  function open() {
    const url = new URL(address, globalThis.location?.href);
    url.protocol = url.protocol.replace(/^(http|ws)/, link.sse ? "http" : "ws");
    // What else is in the query stays as it was written.
    if (link.lastId) url.search += `${url.search && "&"}last_event_id=${encodeURIComponent(link.lastId)}`;
    source = link.sse ? new EventSource(url) : new WebSocket(url, "moorline.resume.v1");
    source.binaryType = "arraybuffer";
    source.onopen = () => {
      began = Date.now();
      while (queue.length) source.send(queue.shift());
      tell("open");
    };
    source.onmessage = ({ data, lastEventId }) => take(
      link.sse ? { id: lastEventId, data } : typeof data == "string" ? JSON.parse(data) : { data });
    // EventSource gives named events to those that ask for the name.
    for (const event of link.events)
      source.addEventListener(event, ({ data, lastEventId }) => take({ id: lastEventId, event, data }));
    source.addEventListener("gap", ({ data }) => take({ gap: data }));
    // A WebSocket that ends says so by `close`, with a code.
    source.onerror = link.sse ? wait : () => {};
    source.onclose = wait;
    tell("connecting");
  }

  function take({ id, event, data, gap }) {
    if (id) link.lastId = id;
    if (gap != null) link.ongap?.(gap);
    else if (event) link.onevent?.(event, data, id);
    else link.onmessage?.(data, id);
  }

  function wait(cause) {
    if (link.state == "closed") return;
    source.close();
    // One that did not last is no success.
    if (Date.now() - began > link.lastRetry) attempts = 0;
    began = Infinity;
    timer = setTimeout(retry, Math.random() * Math.min(link.lastRetry, link.firstRetry * 2 ** attempts++));
    tell("waiting", cause);
  }

  function retry() {
    clearTimeout(timer);
    if (link.state == "waiting") open();
  }

  function tell(state, cause) {
    link.state = state;
    link.onstate?.(state, cause);
  }

  function send(data) {
    if (link.sse || link.state == "closed") return false;
    if (source.readyState != 1) return queue.length < link.maxQueued && !!queue.push(data);
    if (source.bufferedAmount > link.maxBuffered) return false;
    source.send(data);
    return true;
  }

  function close() {
    clearTimeout(timer);
    globalThis.removeEventListener?.("online", retry);
    source.close();
    tell("closed");
  }
}
