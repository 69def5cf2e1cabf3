// The page of `sharedllm serve`: choose documents, ask, follow the answer, look at its sources. No library.

import { Turn, element, sentence } from "./answer.js";
import { Viewer } from "./viewer.js";

const find = (id) => document.getElementById(id);
const viewer = new Viewer();
const MANY = 12; // documents: more are not all chosen at first, and can be looked for by name
const chosen = new Set();
let known = [];
let turns = [];
let running = null; // the AbortController of the question that is being answered
let model = "";

// -- documents ---------------------------------------------------------------------------------------------------

async function fetched(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw { message: "the server can't be reached", hint: "see whether `sharedllm serve` still runs" };
  }
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw told.error || { message: `the server answered ${response.status}` };
  return told;
}

async function listed() {
  const told = await fetched("/page/documents");
  const names = new Set(known);
  const first = !known.length;
  const rows = [...told.collections.map((name) => ({ name, kind: "collection" })), ...told.documents];
  const few = told.documents.filter((one) => !one.collection).length <= MANY;
  for (const one of rows) {
    // All are chosen at first, unless there are so many that reading them would take long; a collection stands for its
    // documents.
    const offered = first && !one.collection && (few || one.kind === "collection");
    if (!names.has(one.name) && (one.dropped || offered)) chosen.add(one.name);
  }
  known = rows.map((one) => one.name);
  for (const name of [...chosen]) if (!known.includes(name)) chosen.delete(name);
  find("list").replaceChildren(...rows.map(row));
  find("add").hidden = !told.takes_documents;
  find("file").accept = told.suffixes.join(",");
  find("empty").hidden = known.length > 0;
  find("all").hidden = find("none").hidden = known.length < 2;
  find("filters").hidden = known.length <= MANY;
  filter();
  model = told.model;
  find("model").textContent = told.loaded ? model : `${model}, loaded with the first question`;
  count();
}

function row(one) {
  const box = element("input", { type: "checkbox", value: one.name });
  box.checked = chosen.has(one.name);
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(one.name);
    else chosen.delete(one.name);
    count();
  });
  const kind = element("span", { class: "quiet small", text: one.dropped ? `${one.kind}, added here` : one.kind });
  return element("li", {}, element("label", {}, box, element("bdi", { text: one.name }), kind));
}

function count() {
  const all = known.length;
  const some = chosen.size === 1 ? `Asking ${[...chosen][0]}` : `Asking ${chosen.size} of ${all} documents`;
  find("chosen").textContent = !all ? "Documents" : chosen.size ? some : `Choose among ${all} documents`;
  if (chosen.size) find("need").hidden = true;
}

function filter() {
  const wanted = find("filter").value.trim().toLocaleLowerCase();
  for (const line of find("list").children) line.hidden = !line.textContent.toLocaleLowerCase().includes(wanted);
}

function choose(every) {
  for (const box of find("list").querySelectorAll("li:not([hidden]) input")) {
    box.checked = every;
    if (every) chosen.add(box.value);
    else chosen.delete(box.value);
  }
  count();
}

async function add(files) {
  find("documents").open = true;
  for (const file of files) {
    const waiting = element("li", {}, element("p", { class: "quiet small dots", text: `Adding ${file.name}` }));
    find("list").append(waiting);
    try {
      const told = await fetched(`/page/documents?name=${encodeURIComponent(file.name)}`, {
        method: "POST",
        body: file,
        headers: { "content-type": "application/octet-stream" },
      });
      announce(`${told.name} was added`);
    } catch (error) {
      announce(`${file.name} was not added: ${error.message}`);
      const why = element("p", { class: "remark wrong", role: "alert", text: `${file.name}: ${sentence(error.message)}` });
      find("documents").querySelector("fieldset").append(why);
      setTimeout(() => why.remove(), 15000);
    }
    waiting.remove();
  }
  await listed().catch(failed);
}

// -- a question --------------------------------------------------------------------------------------------------

async function ask(question) {
  const turn = new Turn(question, (...one) => viewer.show(...one));
  const history = turns.filter((one) => one.answer).map((one) => ({ question: one.question, answer: one.answer.answer }));
  turns.push(turn);
  find("turns").append(turn.element);
  find("documents").open = false;
  find("welcome").hidden = true;
  find("fresh").hidden = false;
  turn.heading.scrollIntoView({ block: "start" });
  busy(true);
  announce("The question was sent");
  running = new AbortController();
  const body = { question, documents: [...chosen], history };
  if (find("password").value) body.password = find("password").value;
  try {
    const response = await fetch("/page/ask", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: running.signal,
    });
    if (!response.ok) throw (await response.json()).error;
    await follow(turn, response.body);
  } catch (error) {
    if (error.name === "AbortError") {
      turn.stopped();
      announce("Stopped");
    } else {
      turn.fail(error instanceof TypeError ? { message: "the server can't be reached" } : error);
    }
  }
  running = null;
  busy(false);
}

async function follow(turn, stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let ended = false;
  for (;;) {
    const { value, done } = await reader.read();
    rest += value || "";
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(event) || [];
      if (name) ended = heard(turn, name, JSON.parse(data)) || ended;
    }
    if (done) break;
  }
  if (!ended) turn.fail({ message: "the server ended before the answer" });
}

function heard(turn, name, data) {
  const pinned = nearEnd();
  if (name === "waiting") {
    turn.say(data.waiting ? `Waiting for ${data.waiting} other question${data.waiting > 1 ? "s" : ""}` : data.loaded ? "Reading" : `Loading ${model}`);
  } else if (name === "progress") {
    const part = data.total ? ` (${data.done.toLocaleString("en")} of ${data.total.toLocaleString("en")} ${data.unit})` : "";
    turn.say(sentence(data.description + part).replace(/\.$/, ""), data.done, data.total);
  } else if (name === "text") {
    turn.write(data.text);
  } else if (name === "sentence") {
    turn.mark(data.sources);
  } else if (name === "answer") {
    turn.finish(data);
    find("model").textContent = model;
    find("passwords").hidden = !data.password;
    announce(`Answer: ${data.answer} ${data.answered ? "" : data.reason || ""} ${data.sources.length} sources.`);
  } else if (name === "error") {
    turn.fail(data);
    if (data.password) needsPassword(turn.question);
  }
  if (pinned && name === "text") find("scroll").scrollTop = find("scroll").scrollHeight;
  return name === "answer" || name === "error";
}

function needsPassword(question) {
  find("passwords").hidden = false;
  find("password").value = "";
  if (!find("question").value) find("question").value = question;
  find("password").focus();
}

function nearEnd() {
  const scroll = find("scroll");
  return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
}

function busy(is) {
  find("send").hidden = is;
  find("stop").hidden = !is;
  if (document.activeElement === document.body || document.activeElement?.closest("#ask")) (is ? find("stop") : find("question")).focus();
}

function announce(text) {
  find("status").textContent = text;
}

function failed(error) {
  const made = element("p", { class: "remark wrong", role: "alert", text: sentence(error.message) });
  find("turns").append(made);
}

// -- what the reader does ----------------------------------------------------------------------------------------

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = find("question");
  const question = field.value.trim();
  if (running || !question) return;
  if (!chosen.size) {
    find("documents").open = true;
    find("need").hidden = false;
    find("list").querySelector("input")?.focus();
    return;
  }
  field.value = "";
  ask(question);
});

find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("ask").requestSubmit();
  }
});

find("stop").addEventListener("click", () => running?.abort());
find("filter").addEventListener("input", filter);
find("filter").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.value) {
    event.target.value = "";
    filter();
    event.preventDefault();
  }
});
find("all").addEventListener("click", () => choose(true));
find("none").addEventListener("click", () => choose(false));
find("file").addEventListener("change", async (event) => {
  await add([...event.target.files]);
  event.target.value = "";
});
find("fresh").addEventListener("click", () => {
  running?.abort();
  viewer.close();
  turns = [];
  find("turns").replaceChildren();
  find("fresh").hidden = true;
  find("welcome").hidden = false;
  find("documents").open = true;
  find("question").focus();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !event.defaultPrevented) running.abort();
});

let dragged = 0;
const carries = (event) => event.dataTransfer?.types.includes("Files") && !find("add").hidden;
document.addEventListener("dragenter", (event) => {
  if (!carries(event)) return;
  dragged += 1;
  find("drop").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!carries(event)) return;
  dragged = Math.max(0, dragged - 1);
  find("drop").hidden = dragged > 0 ? false : true;
});
document.addEventListener("dragover", (event) => {
  if (carries(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  dragged = 0;
  find("drop").hidden = true;
  add([...event.dataTransfer.files]);
});

listed().catch(failed);
find("question").focus();
