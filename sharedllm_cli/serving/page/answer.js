// One question and its answer on the page. Whatever comes from documents and models is set as text, never as markup.

export function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const FEW = 2; // remarks that are shown open

export class Turn {
  constructor(question, look) {
    this.question = question;
    this.look = look; // shows a source: (answer, number, button)
    this.answer = null;
    this.text = "";
    this.heading = element("h2", { text: question, dir: "auto", tabindex: "-1" });
    this.said = element("span", { text: "Waiting" });
    this.bar = element("progress", { hidden: true, "aria-label": "Progress" });
    this.live = element("p", { class: "live" }, this.said, this.bar);
    this.prose = element("p", { class: "prose", dir: "auto", "aria-busy": "true" });
    this.below = element("div");
    this.element = element("article", { class: "turn", "aria-label": question }, this.heading, this.live, this.prose, this.below);
    this.prose.hidden = true;
  }

  say(text, done = 0, total = 0) {
    this.said.textContent = text;
    this.bar.hidden = !total;
    if (total) {
      this.bar.max = total;
      this.bar.value = done;
    }
  }

  write(text) {
    this.live.hidden = true;
    this.prose.hidden = false;
    this.prose.classList.add("writing");
    this.text += text;
    this.prose.append(document.createTextNode(text));
  }

  mark(sources) {
    this.prose.append(...sources.map((number) => element("span", { class: "cite", text: number, "aria-hidden": "true" })));
  }

  stopped() {
    this.end();
    this.below.append(remark(["Stopped. The answer is not whole, and has no sources."]));
  }

  fail(error) {
    this.end();
    if (!this.text) this.prose.hidden = true;
    const made = remark([sentence(error.message), ...(error.hint && !error.password ? [sentence(error.hint)] : [])]);
    made.classList.add("wrong");
    made.setAttribute("role", "alert");
    this.below.append(made);
  }

  finish(answer) {
    this.end();
    this.answer = answer;
    this.prose.hidden = !answer.answer.trim();
    this.prose.replaceChildren();
    for (const piece of answer.pieces) {
      this.prose.append(document.createTextNode(piece.text));
      for (const number of piece.sources) this.prose.append(this.cite(number));
      if (piece.unsupported.length) {
        this.prose.append(element("span", { class: "unsupported", text: ` [not in the passages: ${piece.unsupported.join(", ")}]` }));
      }
    }
    if (!answer.answered) this.below.append(remark([sentence(answer.reason || "The document does not hold the answer")]));
    if (answer.warnings.length) this.below.append(warnings(answer.warnings));
    const main = answer.sources.filter((one) => one.supports || (!answer.answered && one.read));
    const beside = answer.sources.filter((one) => !main.includes(one));
    this.list(answer.answered || answer.listed ? "Sources" : "Closest passages", main);
    if (answer.strips.length) this.strips(answer.strips, new Set(main.map((one) => one.document)));
    if (beside.length) this.below.append(element("details", {}, element("summary", { text: `Also found: ${beside.length}` }), this.cards(beside, "cards beside")));
    this.below.append(element("p", { class: "facts-line", text: facts(answer) }));
  }

  end() {
    this.live.hidden = true;
    this.prose.classList.remove("writing");
    this.prose.removeAttribute("aria-busy");
  }

  cite(number) {
    return element("button", {
      type: "button",
      class: "cite",
      text: number,
      "aria-label": `Source ${number}`,
      onclick: (event) => this.look(this, number, event.currentTarget),
    });
  }

  list(title, sources) {
    if (sources.length) this.below.append(element("h3", { class: "label", text: title }), this.cards(sources, "cards"));
  }

  cards(sources, kind) {
    const cards = sources.map((one) => {
      const where = [one.place, one.heading].filter(Boolean).join(" · ");
      const at = element("span", { class: "at" }, element("bdi", { text: one.document }), element("span", { class: "where", dir: "auto", text: where ? `  ${where}` : "" }));
      const card = element(
        "button",
        { type: "button", class: "card", "aria-pressed": "false", "data-source": one.number, onclick: (event) => this.look(this, one.number, event.currentTarget) },
        element("span", { class: "number", text: one.number, "aria-label": `Source ${one.number}` }),
        at,
        one.columns ? element("span", { class: "words columns", dir: "auto", text: one.columns }) : null,
        element("span", { class: "words", dir: "auto", text: one.quote }),
      );
      return element("li", {}, card);
    });
    return element("ol", { class: kind }, ...cards);
  }

  // The documents that the answer rests on; the others on demand.
  strips(strips, named) {
    const first = strips.filter((one) => named.has(one.document));
    const shown = first.length ? first : strips.slice(0, 1);
    const rest = strips.filter((one) => !shown.includes(one));
    this.below.append(element("h3", { class: "label", text: "What was read" }), ...shown.map((one) => this.strip(one)), legend(strips));
    if (!rest.length) return;
    const summary = element("summary", { text: `Read in ${rest.length} more document${rest.length > 1 ? "s" : ""}` });
    this.below.append(element("details", {}, summary, ...rest.map((one) => this.strip(one))));
  }

  strip(strip) {
    const track = element("div", { class: "track" });
    for (const [start, end, level] of strip.grains) {
      const kind = level === null ? "grain words" : level === strip.levels && level ? "grain leaf" : "grain";
      const grain = element("span", { class: kind });
      place(grain, start, end);
      // A coarse node is a low bar, a fine one a high bar; words are read as they are.
      if (level !== null) grain.style.height = `${25 + (60 * level) / Math.max(strip.levels, 1)}%`;
      track.append(grain);
    }
    for (const [number, where] of strip.empty) {
      const blank = element("span", { class: "blank", title: `Page ${number}: no text` });
      blank.style.left = `${100 * where}%`;
      track.append(blank);
    }
    for (const [start, end, number, read] of strip.places) {
      const spot = element("button", {
        type: "button",
        class: read ? "spot read" : "spot",
        "aria-label": `Source ${number}, ${read ? "read" : "found"} at ${Math.round(100 * start)} % of the document`,
        "aria-pressed": "false",
        "data-source": number,
        title: `Source ${number}`,
        onclick: (event) => this.look(this, number, event.currentTarget),
      });
      place(spot, start, end);
      track.append(spot);
    }
    const blanks = strip.empty.length ? `no text: page${strip.empty.length > 1 ? "s" : ""} ${shortened(strip.empty.map(([number]) => number))}` : "";
    const caption = element("figcaption", {}, element("bdi", { text: strip.document }), element("span", { text: blanks }));
    return element("figure", { class: "strip" }, caption, track);
  }

  press(number) {
    for (const button of this.element.querySelectorAll("[data-source]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.source) === number));
    }
  }
}

function place(one, start, end) {
  one.style.left = `${100 * start}%`;
  one.style.width = `${100 * (end - start)}%`;
}

function shortened(numbers) {
  return numbers.length > 6 ? `${numbers.slice(0, 6).join(", ")} and ${numbers.length - 6} more` : numbers.join(", ");
}

function remark(texts) {
  return element("div", { class: "remark" }, ...texts.map((text) => element("p", { text, dir: "auto" })));
}

function warnings(texts) {
  const shown = texts.map((text) => element("p", { text: sentence(text), dir: "auto" }));
  if (shown.length <= FEW) return element("div", { class: "remark", role: "note", "aria-label": "Worth knowing" }, ...shown);
  const summary = element("summary", { text: `${shown.length} remarks on the documents` });
  return element("details", { class: "remark" }, summary, ...shown);
}

function legend(strips) {
  const levels = strips.flatMap((one) => one.grains.map((grain) => grain[2]));
  const kinds = [];
  if (levels.includes(null)) kinds.push(["is-read", "read word for word"]);
  if (strips.some((one) => one.places.length)) kinds.push(["is-source", "a source"]);
  if (levels.some((level) => level !== null)) kinds.push(["is-fine", "read compressed: the higher, the finer"]);
  if (strips.some((one) => one.empty.length)) kinds.push(["is-blank", "page without text"]);
  return element("ul", { class: "legend" }, ...kinds.map(([kind, text]) => element("li", {}, element("span", { class: kind }), text)));
}

// A remark as a sentence; the name of a file that it begins with stays as it is.
export function sentence(text) {
  const whole = text.trim();
  const start = /^[a-z]+[ ,]/.test(whole) ? whole[0].toUpperCase() + whole.slice(1) : whole;
  return start + (/[.!?…]$/.test(start) ? "" : ".");
}

function facts(answer) {
  const { coverage, model, timing } = answer;
  const count = (number) => number.toLocaleString("en");
  const parts = [`${count(coverage.tokens_read)} of ${count(coverage.tokens)} tokens read`];
  if (coverage.pages) parts.push(`${count(coverage.pages)} page${coverage.pages > 1 ? "s" : ""}`);
  if (answer.documents > 1) parts.push(`${answer.documents} documents`);
  parts.push(`${timing.total_s.toFixed(1)} s`, `${model.base} on ${model.device}`);
  return parts.join(" · ");
}
