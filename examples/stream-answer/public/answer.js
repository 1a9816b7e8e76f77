import { connect } from "./client/moorline.min.js";

const [form, question, answer, state, age] = ["form", "question", "answer", "state", "age"].map((id) => document.getElementById(id));

let link;
let now = "";
let connections; // of this answer
let since; // when the last one began
let build; // what serves it: a generation, and a process of it
let deploys;
let crashes;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!question.value.trim()) return;
  link?.close();
  answer.replaceChildren();
  connections = deploys = crashes = 0;
  build = undefined;
  link = connect(`/answer?q=${encodeURIComponent(question.value)}`, { sse: true, events: ["build", "done"], onmessage: word, onevent: tell, onstate });
  question.value = "";
});

function onstate(it) {
  now = it;
  if (now === "open") {
    connections++;
    since = Date.now();
  }
  for (const element of [state, answer]) element.className = now;
  show();
}

// The word that was on its way when a worker died comes again, with the same id.
let last;
function word(text, id) {
  if (!answer.textContent) last = -1;
  if (Number(id) <= last) return;
  last = Number(id);
  const atEnd = answer.scrollTop + answer.clientHeight > answer.scrollHeight - 40;
  answer.append(text);
  if (atEnd) answer.scrollTop = answer.scrollHeight;
}

function tell(name, data) {
  if (name === "done") return link.close();
  const [generation] = data.split(" ");
  if (build && data !== build) {
    const deployed = generation !== build.split(" ")[0];
    deployed ? deploys++ : crashes++;
    const seam = document.createElement("span");
    seam.className = "seam";
    seam.textContent = deployed ? `build ${generation} goes on` : "a new worker goes on";
    answer.append(" ", seam);
  }
  build = data;
  show();
}

function show() {
  const names = { connecting: "connecting", open: "streaming", waiting: "reconnecting", closed: "done" };
  state.textContent = names[now];
  if (!connections) return age.textContent = "";
  const seconds = Math.floor((Date.now() - since) / 1000);
  const time = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  const parts = [connections === 1 ? `same connection for ${time}` : `connection ${connections}`];
  if (build) parts.push(`build ${build.split(" ")[0]}`);
  if (deploys) parts.push(`code replaced${deploys > 1 ? ` ${deploys} times` : ""}, nobody disconnected`);
  if (crashes) parts.push(`${crashes === 1 ? "a worker" : `${crashes} workers`} lost, no word lost`);
  age.textContent = `· ${parts.join(" · ")}`;
}

state.textContent = "ask something";
setInterval(() => now === "open" && show(), 1000);
