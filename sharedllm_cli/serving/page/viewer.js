// One source beside the answer: its page as a picture with the words marked, or the text around them.

import { element, sentence } from "./answer.js";

const narrow = window.matchMedia("(max-width: 60rem)");

export class Viewer {
  constructor() {
    this.dialog = document.getElementById("viewer");
    this.title = document.getElementById("viewer-title");
    this.body = document.getElementById("sight");
    this.turn = null;
    this.number = 0;
    this.opener = null;
    this.asked = 0;
    document.getElementById("close").addEventListener("click", () => this.close());
    document.getElementById("before").addEventListener("click", () => this.step(-1));
    document.getElementById("after").addEventListener("click", () => this.step(1));
    this.dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        this.close();
      }
      if (event.target.closest("input, textarea")) return;
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    narrow.addEventListener("change", () => {
      if (!this.dialog.open) return;
      this.dialog.close();
      this.open();
    });
  }

  open() {
    if (this.dialog.open) return;
    if (narrow.matches) this.dialog.showModal();
    else this.dialog.show();
  }

  close() {
    if (!this.dialog.open) return;
    this.asked += 1;
    this.dialog.close();
    this.turn?.press(0);
    this.opener?.focus();
  }

  step(by) {
    if (!this.turn?.answer) return;
    const number = this.number + by;
    if (number >= 1 && number <= this.turn.answer.sources.length) this.show(this.turn, number, this.opener);
  }

  async show(turn, number, opener) {
    const source = turn.answer.sources[number - 1];
    if (!source) return;
    if (this.turn && this.turn !== turn) this.turn.press(0);
    [this.turn, this.number, this.opener] = [turn, number, opener];
    turn.press(number);
    document.getElementById("before").disabled = number === 1;
    document.getElementById("after").disabled = number === turn.answer.sources.length;
    const below = [source.place, source.heading, source.checked].filter(Boolean).join(" · ");
    this.title.replaceChildren(
      element("span", { text: `Source ${number}: ` }),
      element("bdi", { text: source.document }),
      element("small", { text: below, dir: "auto" }),
    );
    this.body.replaceChildren(element("p", { class: "quiet dots", text: "Drawing the page" }));
    this.open();
    this.title.focus({ preventScroll: true });
    const asked = ++this.asked;
    const parts = await this.sight(turn.answer.id, number, source);
    if (asked !== this.asked) return; // another source was asked for meanwhile
    this.body.replaceChildren(...parts);
    this.body.scrollTop = 0;
    this.scroll();
  }

  async sight(key, number, source) {
    try {
      const response = await fetch(`/page/answers/${encodeURIComponent(key)}/sources/${number}`);
      const told = await response.json();
      if (!response.ok) throw new Error(told.error?.message || "the source can't be shown");
      const parts = told.remark ? [element("p", { class: "remark", text: sentence(told.remark), dir: "auto" })] : [];
      return [...parts, ...(told.picture ? sheet(told.picture, source) : [around(told.text)])];
    } catch (error) {
      const why = error instanceof TypeError ? "the server can't be reached" : error.message;
      return [element("p", { class: "remark wrong", role: "alert", text: sentence(why) }), element("blockquote", { text: source.quote, dir: "auto" })];
    }
  }

  scroll() {
    const mark = this.body.querySelector(".pen, mark");
    const image = this.body.querySelector("img");
    const go = () => {
      if (!mark) return;
      const top = mark.getBoundingClientRect().top - this.body.getBoundingClientRect().top + this.body.scrollTop;
      this.body.scrollTop = Math.max(0, top - this.body.clientHeight / 3);
    };
    if (image && !image.complete) image.addEventListener("load", go, { once: true });
    else go();
  }
}

function sheet(picture, source) {
  const image = element("img", {
    src: picture.address,
    width: picture.width,
    height: picture.height,
    alt: `${source.place || "The page"} of ${source.document}. The marked words are: ${source.quote}`,
  });
  const mark = (kind) => ([left, top, right, bottom]) => {
    const pen = element("span", { class: kind, "aria-hidden": "true" });
    pen.style.left = `${100 * left}%`;
    pen.style.top = `${100 * top}%`;
    pen.style.width = `${100 * (right - left)}%`;
    pen.style.height = `${100 * (bottom - top)}%`;
    return pen;
  };
  const marks = [...picture.boxes.map(mark("pen")), ...picture.strong.map(mark("pen strong"))];
  const missing = picture.boxed < picture.words ? `${picture.boxed} of the quote's ${picture.words} words were found on the picture.` : "";
  const found = source.image ? "The words were recognised in this picture and are not marked: compare them." : missing;
  const larger = element("a", { href: picture.address, target: "_blank", rel: "noreferrer", text: "Picture alone" });
  return [
    element("div", { class: "sheet" }, image, ...marks),
    element("p", { class: "under" }, element("span", { text: found }), larger),
  ];
}

function around(text) {
  return element(
    "p",
    { class: "around", dir: "auto" },
    document.createTextNode((text.cut_before ? "… " : "") + text.before),
    element("mark", {}, text.pieces[0], element("b", { text: text.pieces[1], hidden: !text.pieces[1] }), text.pieces[2]),
    document.createTextNode(text.after + (text.cut_after ? " …" : "")),
  );
}
