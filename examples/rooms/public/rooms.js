import { connect } from "./client/moorline.min.js";

const element = (id) => document.getElementById(id);
const [lines, text, name, age] = ["lines", "text", "name", "age"].map(element);
const KEPT_LINES = 500;
// `/?mirror` reads along by server-sent events.
const mirror = new URLSearchParams(location.search).has("mirror");

let link;
let me;
let state;
let connections;
let since;
let builds; // the builds that this connection has had
// Nonces of what this tab has said: so it knows its own lines, whatever the names.
const own = new Set(JSON.parse(sessionStorage.own ?? "[]"));

async function start() {
  const answer = await fetch("/login");
  const known = answer.ok;
  element("leave").hidden = element("say").hidden = !known;
  element("login").hidden = known;
  if (mirror) element("say").hidden = true;
  if (known) {
    me = await answer.text();
    enter();
    text.focus();
  } else {
    element("state").textContent = "who are you?";
    name.focus();
  }
}

function enter() {
  link?.close();
  lines.replaceChildren();
  element("present").replaceChildren();
  connections = 0;
  const room = location.hash.slice(1) || "lobby";
  for (const it of document.querySelectorAll("nav a")) it.toggleAttribute("aria-current", it.hash === `#${room}`);
  document.title = `${decodeURIComponent(room)} · Moorline rooms`;
  link = connect(`/rooms/${room}`, {
    sse: mirror,
    events: ["said", "news", "present", "build"],
    onevent: (event, data) => handlers[event]?.(data),
    ongap: () => notice("some of what was said before is gone"),
    onstate: (now) => {
      state = now;
      if (now === "open") [since, builds] = [Date.now(), []], connections++;
      tell();
    },
  });
}

const handlers = {
  said(data) {
    const { who, nonce, text, at } = JSON.parse(data);
    add(own.has(nonce) ? "said mine" : "said", coloured("b", who), " ", text, " ", time(at));
  },
  news: (text) => notice(`⚓ ${text}`),
  present: (names) => element("present").replaceChildren(...JSON.parse(names).map((it) => {
    const item = coloured("li", it);
    item.className = it === me ? "me" : "";
    return item;
  })),
  build(number) {
    if (builds.at(-1) !== number) builds.push(number);
    tell();
  },
};

function tell() {
  element("state").textContent = state === "open" ? "connected" : connections ? "reconnecting" : "connecting";
  element("state").classList.toggle("open", state === "open");
  if (state !== "open") return age.textContent = "";
  const passed = Math.floor((Date.now() - since) / 1000);
  const units = [[Math.floor(passed / 3600), "h"], [Math.floor(passed / 60) % 60, "m"], [passed % 60, "s"]];
  const time = units.slice(Math.max(0, units.findIndex(([count]) => count))).map((unit) => unit.join(" ")).join(" ");
  const parts = [connections === 1 ? `same connection for ${passed ? time : "0 s"}` : `connection ${connections}`];
  if (builds.length) parts.push(`build ${builds.at(-1)}`);
  if (builds.length > 1) parts.push("code replaced, nobody disconnected");
  age.textContent = `· ${parts.join(" · ")}`;
}

function coloured(tag, who) {
  const it = document.createElement(tag);
  it.textContent = who;
  it.style.setProperty("--hue", [...who].reduce((hue, it) => (hue * 137 + it.codePointAt()) % 360, 0));
  return it;
}

function time(at) {
  const [time, date] = [document.createElement("time"), new Date(at)];
  time.dateTime = date.toISOString();
  time.title = date.toLocaleString();
  const today = date.toDateString() === new Date().toDateString();
  time.textContent = today ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : time.title;
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

element("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const nonce = Math.random().toString(36).slice(2);
  // What does not go stays in the field.
  if (!text.value.trim() || !link.send(JSON.stringify({ nonce, text: text.value }))) return;
  own.add(nonce);
  sessionStorage.own = JSON.stringify([...own].slice(-200));
  text.value = "";
});

element("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ((await fetch("/login", { method: "POST", body: name.value })).ok) start();
});

element("leave").addEventListener("click", async () => {
  await fetch("/login", { method: "DELETE" });
  link?.close();
  location.reload();
});

addEventListener("hashchange", () => link && enter());
// Who types anywhere, types a message.
addEventListener("keydown", (event) => {
  const types = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey && event.key !== " ";
  if (types && !event.target.matches("input")) text.focus();
});
setInterval(() => link && tell(), 1000);
start();
