// Makes elements, and says things. Texts from outside are only ever set as text.

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const SHAPES = {
  pencil: "M4 20h4L19 9l-4-4L4 16zM13.5 6.500l4 4",
  bin: "M5 7h14M10 7V5h4v2M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  cross: "M6 6l12 12M18 6 6 18",
};

export function iconButton(shape, label, onclick) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", SHAPES[shape]);
  svg.append(path);
  return make("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick }, svg);
}

export const percent = (share) =>
  new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share);

export const counted = (number, one, many = `${one}s`) =>
  `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

let timer;
// With an action, a button does it.
export function say(text, action = null) { toast("said", text, 6000, action); }
export function alertTo(text) { toast("alerted", text, 9000); }

function toast(place, text, milliseconds, action = null) {
  clearTimeout(timer);
  byId("said").replaceChildren();
  byId("alerted").replaceChildren();
  const more = action ? [make("button", { type: "button", onclick: () => { byId(place).replaceChildren(); action.run(); } }, action.name)] : [];
  byId(place).append(make("div", { class: "toast" }, make("span", {}, text), ...more));
  timer = setTimeout(() => byId(place).replaceChildren(), milliseconds);
}

// Resolves to the text that was entered ("" without an input), or to null.
export function dialog({ title, text, yes, danger = false, value = null }) {
  const box = byId("dialog");
  const input = byId("dialog-input");
  byId("dialog-title").textContent = title;
  byId("dialog-text").textContent = text;
  byId("dialog-yes").textContent = yes;
  byId("dialog-yes").classList.toggle("danger", danger);
  input.hidden = value === null;
  input.value = value ?? "";
  box.showModal();
  if (value !== null) input.select();
  return new Promise((resolve) => {
    const settle = (answer) => { box.close(); resolve(answer); };
    const accept = () => (value === null || input.value.trim()) && settle(input.value.trim());
    byId("dialog-yes").onclick = accept;
    byId("dialog-no").onclick = () => settle(null);
    input.onkeydown = (event) => { if (event.key === "Enter") accept(); };
    box.oncancel = () => settle(null);
  });
}
