// Wires the page: pictures come in, classes are taught, and everything shown follows the server.

import * as api from "/api.js";
import * as cards from "/cards.js";
import { alertTo, byId, counted, dialog, say } from "/dom.js";
import * as panels from "/panels.js";

let info = null;
let isBusy = false;

async function refresh({ predictAgain = false } = {}) {
  info = await api.get("info");
  panels.showInfo(info);
  panels.showClasses(info, { rename, forget });
  showForms();
  await Promise.all([
    panels.showHistory(),
    panels.showAccuracy(info),
    predictAgain ? cards.predict(info) : null,
  ]);
}

function showForms(num = cards.chosen().length) {
  const canWrite = api.hasToken();
  byId("unlock").hidden = canWrite;
  byId("teach").hidden = !canWrite || !document.body.classList.contains("has-pictures");
  byId("teach-what").textContent = num ? `Teach ${counted(num, "picture")} as` : "Select pictures to teach";
  byId("teach-button").disabled = isBusy || !num;
}

// Runs one change, says what happened, and shows the classifier as it is then.
async function change(action, takeBack = { name: "Undo", run: undo }) {
  if (isBusy) return;
  isBusy = true;
  showForms();
  try {
    const sentence = await action();
    say(sentence, takeBack);
  } catch (error) {
    report(error);
  }
  isBusy = false;
  await refresh({ predictAgain: true }).catch(report);
}

function report(error) {
  if (error.status === 401) {
    api.dropToken();
    showForms();
  }
  alertTo(error.message);
}

async function take(files) {
  const pictures = [...files].filter((file) => file.size);
  if (!pictures.length) return;
  const fresh = cards.add(pictures);
  // those that come before the first answer are looked at after it
  if (info !== null) await cards.predict(info, fresh);
}

function teach(event) {
  event.preventDefault();
  const label = byId("name").value.trim();
  const wanted = cards.chosen();
  if (!label || !wanted.length) return;
  change(async () => {
    let sentence = "";
    for (const part of cards.parts(wanted, info.limits)) {
      const learned = await api.post("learn", api.form(part.map((card) => card.file), { label }));
      for (const card of part) card.markTaught(learned.label);
      sentence = learned.message;
    }
    byId("name").value = "";
    return `${sentence[0].toUpperCase()}${sentence.slice(1)}.`;
  });
}

async function forget(label) {
  const text = "It will be as if it had never been learned. The last step can be undone.";
  const answer = await dialog({ title: `Forget ${label}?`, text, yes: "Forget", danger: true });
  if (answer === null) return;
  change(async () => {
    await api.postJson("forget", { label });
    return `Forgot ${label}.`;
  });
}

async function rename(label) {
  const to = await dialog({ title: `Rename ${label}`, text: "What it learned stays.", yes: "Rename", value: label });
  if (to === null || to === label) return;
  change(async () => {
    await api.postJson("rename", { label, to });
    return `Renamed ${label} to ${to}.`;
  });
}

function undo() {
  change(async () => {
    const { step } = await api.post("undo");
    return step?.label ? `Undone: ${step.step} ${step.label}.` : "The previous version is back.";
  }, null);
}

function unlock(event) {
  event.preventDefault();
  api.useToken(byId("token").value);
  byId("token").value = "";
  refresh({ predictAgain: true }).catch(report);
}

function listenForPictures() {
  const drop = byId("drop");
  let depth = 0; // a drag enters each element on its way
  const over = (step) => {
    depth = step ? Math.max(0, depth + step) : 0;
    drop.classList.toggle("over", depth > 0);
  };
  addEventListener("dragenter", () => over(1));
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(0);
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
  });
  byId("chooser").addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // so the same file can be chosen again
  });
}

cards.onChoice(showForms);
listenForPictures();
byId("teach").addEventListener("submit", teach);
byId("unlock").addEventListener("submit", unlock);
byId("undo").addEventListener("click", undo);
byId("clear").addEventListener("click", cards.clear);
byId("select-all").addEventListener("click", cards.chooseAll);
byId("filter").addEventListener("input", () => panels.showClasses(info, { rename, forget }));
// others may have taught it meanwhile
addEventListener("focus", () => { if (info !== null && !isBusy) refresh().catch(() => {}); });
refresh({ predictAgain: true }).catch((error) => {
  byId("summary").textContent = error.message;
  report(error);
});
