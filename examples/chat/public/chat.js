// One line of text is one message, both ways: "name: what was said", or "⚓ …" from the server itself.

const [name, text, lines, state, age] = ["name", "text", "lines", "state", "age"].map((id) => document.getElementById(id));
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;
const KEPT_LINES = 500;

let socket;
let connections = 0;
let attempts = 0;
let retry;
let since; // when this connection began
let greeting; // the last one of this connection
let builds; // other greetings since: each is of code that was not there when it began
let unheard = []; // what this tab has sent and not seen come back: so it knows its own lines, whatever the names

function connect() {
  clearTimeout(retry);
  socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/ws`);
  socket.onopen = () => {
    connections++;
    attempts = builds = 0;
    greeting = undefined;
    since = Date.now();
    tell();
  };
  socket.onmessage = (event) => show(event.data);
  socket.onclose = () => {
    for (const line of unheard) notice(`perhaps not sent: ${line}`);
    unheard = [];
    since = undefined;
    // A random wait, so that a thousand tabs do not come back in the same moment.
    const longest = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** ++attempts);
    retry = setTimeout(connect, longest * (0.5 + Math.random() / 2));
    tell();
  };
}

function tell() {
  state.textContent = since ? "connected" : connections ? "reconnecting" : "connecting";
  state.classList.toggle("open", Boolean(since));
  if (!since) return age.textContent = "";
  const passed = Math.floor((Date.now() - since) / 1000);
  const units = [[Math.floor(passed / 3600), "h"], [Math.floor(passed / 60) % 60, "m"], [passed % 60, "s"]];
  const time = units.slice(Math.max(0, units.findIndex(([count]) => count))).map((unit) => unit.join(" ")).join(" ");
  const which = connections === 1 ? "same connection" : `connection ${connections}`;
  const replaced = builds ? ` · code replaced${builds > 1 ? ` ${builds} times` : ""}, nobody disconnected` : "";
  age.textContent = `· ${which} for ${passed ? time : "0 s"}${replaced}`;
}

function show(line) {
  const colon = line.indexOf(": ");
  if (line.startsWith("⚓")) {
    // The server greets again on the same connection when another process serves it.
    if (greeting && greeting !== line) builds++;
    greeting = line;
    tell();
    return notice(line);
  }
  if (colon < 0) return notice(line);
  const own = unheard.indexOf(line);
  // They come back in order: what was sent before is lost.
  if (own >= 0) unheard.splice(0, own + 1);
  const who = document.createElement("b");
  who.textContent = line.slice(0, colon);
  who.style.setProperty("--hue", [...who.textContent].reduce((hue, it) => (hue * 137 + it.codePointAt()) % 360, 0));
  add(own < 0 ? "said" : "said mine", who, " ", line.slice(colon + 2), " ", time());
}

function time() {
  const now = new Date();
  const time = document.createElement("time");
  time.dateTime = now.toISOString();
  time.title = now.toLocaleString();
  time.textContent = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return time;
}

function notice(line) {
  add("notice", line);
}

function add(kind, ...content) {
  const atEnd = lines.scrollTop + lines.clientHeight > lines.scrollHeight - 40;
  const item = document.createElement("li");
  item.className = kind;
  item.append(...content);
  lines.append(item);
  if (lines.childElementCount > KEPT_LINES) lines.firstChild.remove();
  // A reader that has scrolled up stays there.
  if (atEnd) lines.scrollTop = lines.scrollHeight;
}

document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const said = text.value.trim();
  // What is typed while the server is away stays in the field.
  if (socket.readyState !== WebSocket.OPEN || !said) return;
  const line = `${name.value}: ${said}`;
  unheard.push(line);
  socket.send(line);
  text.value = "";
});

// The first ": " ends a name.
const named = (it) => it.replaceAll(":", "").trim() || `guest ${Math.floor(Math.random() * 900) + 100}`;
// A guest is one tab; a name is all tabs.
name.value = sessionStorage.name = named(sessionStorage.name ?? localStorage.name ?? "");
name.addEventListener("change", () => {
  name.value = sessionStorage.name = localStorage.name = named(name.value);
});
name.addEventListener("keydown", (event) => event.key === "Enter" && text.focus());
// Who types anywhere, types a message.
addEventListener("keydown", (event) => {
  const types = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey && event.key !== " ";
  if (types && !event.target.matches("input")) text.focus();
});
addEventListener("online", () => socket.readyState === WebSocket.CLOSED && connect());
setInterval(tell, 1000);
connect();
