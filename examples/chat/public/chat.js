// One line of text is one message, both ways: "name: what was said", or "⚓ …" from the server itself.

const element = (id) => document.getElementById(id);
const RETRY_MILLISECONDS = 1000;
let socket;
let connections = 0;

function connect() {
  socket = new WebSocket(`ws://${location.host}/ws`);
  socket.onopen = () => {
    element("connections").textContent = ++connections;
    state("connected", true);
  };
  socket.onmessage = (event) => show(event.data);
  socket.onclose = () => {
    state("reconnecting", false);
    setTimeout(connect, RETRY_MILLISECONDS);
  };
}

function state(text, open) {
  element("state").textContent = text;
  element("state").classList.toggle("open", open);
}

function show(line) {
  const lines = element("lines");
  const atEnd = lines.scrollTop + lines.clientHeight > lines.scrollHeight - 40;
  const item = document.createElement("li");
  const colon = line.indexOf(": ");
  if (line.startsWith("⚓") || colon < 0) {
    item.className = "notice";
    item.textContent = line;
  } else {
    const name = document.createElement("b");
    name.textContent = line.slice(0, colon);
    item.classList.toggle("mine", name.textContent === element("name").value);
    item.append(name, " ", line.slice(colon + 2));
  }
  lines.append(item);
  // A reader that has scrolled up stays there.
  if (atEnd) lines.scrollTop = lines.scrollHeight;
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = element("text");
  if (socket.readyState !== WebSocket.OPEN || !text.value.trim()) return;
  socket.send(`${element("name").value.trim()}: ${text.value.trim()}`);
  text.value = "";
});

element("name").value = localStorage.name ?? `guest ${Math.floor(Math.random() * 900) + 100}`;
element("name").addEventListener("change", (event) => { localStorage.name = event.target.value; });
connect();
