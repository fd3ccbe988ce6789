// What the classifier knows: its classes, its history, and its accuracy on held-out pictures.

import { get } from "/api.js";
import { byId, counted, iconButton, make, percent } from "/dom.js";

const MOST_CLASSES = 200; // shown at once; typing finds the others
const MOST_SUGGESTED = 500;
const STEPS = 8;
const WORST = 8;
const PATIENCE = 700; // milliseconds between two looks at a folder that is being read

const curve = [];

export function showInfo(info) {
  document.title = `${info.file} – cl-suite`;
  byId("file").textContent = info.file;
  byId("summary").textContent =
    `${counted(info.classes.length, "class", "classes")} · ${counted(info.pictures, "picture")} learned`;
  byId("note").hidden = !info.note;
  byId("note").textContent = info.note;
  byId("undo").disabled = !info.can_undo;
  byId("accuracy").hidden = info.held_out === null;
  byId("about").textContent = `${info.rule} on ${info.backbone} · cl-suite ${info.version}`;
  const labels = info.classes.slice(-MOST_SUGGESTED).map(({ label }) => make("option", { value: label }));
  byId("labels").replaceChildren(...labels);
}

export function showClasses(info, actions) {
  byId("num-classes").textContent = info.classes.length || "";
  byId("filter").hidden = info.classes.length < 9;
  const wanted = byId("filter").value.trim().toLowerCase();
  // the newest first: it is what was just taught
  const found = info.classes.filter(({ label }) => label.toLowerCase().includes(wanted)).reverse();
  const rows = found.slice(0, MOST_CLASSES).map(({ label, pictures }) => make("li", {},
    make("span", { class: "label" }, label),
    make("span", { class: "number", title: counted(pictures, "picture") }, String(pictures)),
    iconButton("pencil", `Rename ${label}`, () => actions.rename(label)),
    iconButton("bin", `Forget ${label}`, () => actions.forget(label))));
  if (!info.classes.length) rows.push(make("li", { class: "muted" }, "None yet. Drop pictures, name them, teach."));
  byId("classes").replaceChildren(...rows);
  byId("more-classes").hidden = found.length <= MOST_CLASSES;
  byId("more-classes").textContent = `and ${counted(found.length - MOST_CLASSES, "more class", "more classes")}`;
}

export async function showHistory() {
  const { steps } = await get(`history?limit=${STEPS}`);
  const rows = steps.map((step) => make("li", {},
    make("span", { class: "label" }, inWords(step)),
    make("time", { class: "number", datetime: step.when, title: new Date(step.when).toLocaleString() }, ago(step.when))));
  if (!rows.length) rows.push(make("li", { class: "muted" }, "No step was taken yet."));
  byId("history").replaceChildren(...rows);
}

function inWords({ step, label, to, pictures }) {
  if (step === "learn") return `${label}: ${counted(pictures, "picture")} learned`;
  if (step === "forget") return `${label} forgotten`;
  if (step === "rename") return `${label} renamed to ${to}`;
  if (step === "start") return `started from ${counted(pictures, "picture")}`;
  return step === "merge" ? "merged with another classifier" : step;
}

function ago(when) {
  const minutes = Math.floor((Date.now() - new Date(when)) / 60000);
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h`;
  return `${Math.floor(minutes / 1440)} d`;
}

export async function showAccuracy(info) {
  if (info.held_out === null) return;
  byId("accuracy-title").textContent = `Accuracy on ${info.held_out}`;
  let found;
  try {
    while ((found = await get("evaluate")).isPending) {
      byId("accuracy-words").textContent = `reading pictures: ${found.done} of ${found.total}`;
      await new Promise((resume) => setTimeout(resume, PATIENCE));
    }
  } catch (error) {
    byId("accuracy-value").textContent = "–";
    byId("accuracy-words").textContent = error.message;
    return;
  }
  showFigures(found);
}

function showFigures(found) {
  const { accuracy } = found;
  byId("accuracy-value").textContent = accuracy === null ? "–" : percent(accuracy);
  if (accuracy !== null && accuracy !== curve.at(-1)) curve.push(accuracy);
  const change = curve.length > 1 ? 100 * (curve.at(-1) - curve.at(-2)) : 0;
  const element = byId("accuracy-change");
  element.textContent = Math.abs(change) < 0.05 ? "" : `${change > 0 ? "▲" : "▼"} ${Math.abs(change).toFixed(1)} points`;
  element.className = `change ${change > 0 ? "up" : "down"}`;
  let words = `${found.right} of ${counted(found.pictures, "picture")} right`;
  if (found.called_unknown) words += `, ${found.called_unknown} called unknown`;
  if (found.strangers) words += `. Of ${found.strangers} from classes not taught, ${found.strangers_called_unknown} called unknown`;
  byId("accuracy-words").textContent = `${words}.`;
  drawCurve();
  showWorst(found.by_class);
}

function drawCurve() {
  const svg = byId("curve");
  svg.toggleAttribute("hidden", curve.length < 2);
  if (curve.length < 2) return;
  const low = Math.min(...curve);
  const high = Math.max(...curve, low + 0.01);
  const points = curve.map((value, row) =>
    `${((300 * row) / (curve.length - 1)).toFixed(1)},${(50 - (44 * (value - low)) / (high - low)).toFixed(1)}`);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.join(" "));
  const floor = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  floor.setAttribute("points", "0,55 300,55");
  floor.setAttribute("class", "floor");
  svg.replaceChildren(floor, line);
  svg.setAttribute("aria-label", `accuracy after each change: ${curve.map(percent).join(", ")}`);
}

function showWorst(classes) {
  const weak = classes.filter(({ pictures, right }) => right < pictures)
    .sort((a, b) => a.right / a.pictures - b.right / b.pictures).slice(0, WORST);
  byId("worst").hidden = !weak.length;
  byId("worst-list").replaceChildren(...weak.map(({ label, pictures, right }) => make("li", {},
    make("span", { class: "label" }, label), make("span", { class: "number" }, `${right} of ${pictures}`))));
}
