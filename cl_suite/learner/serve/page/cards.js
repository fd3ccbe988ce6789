// Pictures, and what the classifier says of them.

import { form, post } from "/api.js";
import { alertTo, byId, counted, iconButton, make, percent } from "/dom.js";

const TOP = 4;
const NEAREST = 5;
const AT_ONCE = 8; // pictures in a request for predictions: the first answers come soon

let cards = [];
let whenChosen = () => {};
let numAdded = 0;

export const onChoice = (listener) => { whenChosen = listener; };
export const chosen = () => cards.filter((card) => card.isChosen);

export function add(files) {
  const fresh = files.map((file) => new Card(file));
  cards.unshift(...fresh);
  byId("cards").prepend(...fresh.map((card) => card.element));
  changed();
  return fresh;
}

export function clear() {
  for (const card of [...cards]) card.remove();
}

export function chooseAll() {
  const all = cards.every((card) => card.isChosen);
  for (const card of cards) card.choose(!all);
}

export async function predict(info, wanted = cards) {
  if (!info.classes.length) {
    for (const card of wanted) card.showNothingKnown();
    return;
  }
  for (const part of parts(wanted, info.limits, AT_ONCE)) {
    try {
      const data = form(part.map((card) => card.file), { top: TOP, nearest: NEAREST });
      const { predictions } = await post("predict", data);
      part.forEach((card, row) => card.show(predictions[row]));
    } catch (error) {
      for (const card of part) card.showProblem(error.message);
      // one unusable picture is said at the picture
      if (error.status !== 415) alertTo(error.message);
    }
  }
}

// Divides cards into requests that the limits allow.
export function* parts(wanted, limits, most = limits.files) {
  let part = [];
  let bytes = 0;
  for (const card of wanted) {
    const size = card.file.size + 1024; // with what a form adds
    if (part.length && (part.length >= Math.min(most, limits.files) || bytes + size > limits.request_bytes)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(card);
    bytes += size;
  }
  if (part.length) yield part;
}

function changed() {
  document.body.classList.toggle("has-pictures", cards.length > 0);
  byId("toolbar").hidden = !cards.length;
  const num = chosen().length;
  byId("counted").textContent = `${counted(cards.length, "picture")}, ${num} selected`;
  byId("select-all").textContent = num === cards.length ? "Select none" : "Select all";
  whenChosen(num);
}

class Card {
  constructor(file) {
    this.file = file;
    this.isChosen = true;
    this.address = URL.createObjectURL(file);
    const name = file.name || "picture";
    const id = `picture-${numAdded++}`;
    this.box = make("input", { type: "checkbox", id, checked: true, "aria-label": `Select ${name}`,
      onchange: () => this.choose(this.box.checked) });
    this.image = make("img", { src: this.address, alt: name });
    this.body = make("div", { class: "body" });
    this.mark = make("p", { class: "taught", hidden: true });
    this.element = make("li", { class: "panel card chosen" },
      make("div", {}, make("label", { class: "preview", for: id }, this.image, this.box),
        make("p", { class: "name", title: name }, name)),
      this.body, iconButton("cross", `Remove ${name}`, () => this.remove()));
    this.element.lastChild.classList.add("remove");
    this.showWaiting();
  }

  choose(isChosen) {
    this.isChosen = this.box.checked = isChosen;
    this.element.classList.toggle("chosen", isChosen);
    changed();
  }

  remove() {
    URL.revokeObjectURL(this.address);
    this.element.remove();
    cards = cards.filter((card) => card !== this);
    changed();
  }

  markTaught(label) {
    this.mark.textContent = `taught as ${label}`;
    this.mark.hidden = false;
    this.choose(false);
  }

  #fill(kind, ...content) {
    this.body.className = `body ${kind}`;
    this.body.replaceChildren(...content, this.mark);
    this.body.setAttribute("aria-busy", kind === "waiting");
  }

  showWaiting() {
    this.#fill("waiting", make("p", { class: "hidden" }, "looking …"), ...[0, 1, 2].map(() => make("div", { class: "wait" })));
  }

  showNothingKnown() {
    this.#fill("", make("p", { class: "muted" }, "Nothing is known yet. Name the class below, and teach it."));
  }

  showProblem(sentence) {
    this.#fill("problem", make("p", { class: "verdict" }, make("strong", {}, "Not usable")), make("p", { class: "muted" }, sentence));
    this.choose(false);
  }

  show(found) {
    if (found.error) {
      this.showProblem(found.error);
      return;
    }
    const [best] = found.top;
    const verdict = found.unknown
      ? [make("strong", {}, "Unknown"), make("span", { class: "muted" }, `unlike any class; the closest is ${best.label}`)]
      : [make("strong", {}, best.label), make("span", { class: "muted" }, percent(best.probability))];
    this.#fill(found.unknown ? "unknown" : "", make("p", { class: "verdict" }, ...verdict),
      make("ul", { class: "bars", "aria-label": "Probabilities" }, ...found.top.map(bar)), ...near(found.nearest));
  }
}

function bar({ label, probability }) {
  const fill = make("div", { class: "fill" });
  requestAnimationFrame(() => { fill.style.width = `${100 * probability}%`; });
  return make("li", {}, make("span", { class: "label", title: label }, label),
    make("div", { class: "track", "aria-hidden": "true" }, fill),
    make("span", { class: "share" }, percent(probability)));
}

function near(pictures) {
  if (!pictures.length) return [];
  const figures = pictures.map(({ label, similarity, picture }) =>
    make("figure", { title: `${label}, similarity ${similarity.toFixed(2)}` },
      make("img", { src: picture, alt: `training picture of ${label}, similarity ${similarity.toFixed(2)}` }),
      make("figcaption", {}, label)));
  return [make("div", { class: "nearest" }, make("h3", {}, "Nearest training pictures"), ...figures)];
}
