// Asks the server. The token comes with the page's address and stays in this tab.

const KEPT = "cl-suite-token";
const shown = new URLSearchParams(location.hash.slice(1)).get("token");
if (shown) {
  sessionStorage.setItem(KEPT, shown);
  // not in bookmarks, not over a shoulder
  history.replaceState(null, "", location.pathname);
}

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export const hasToken = () => sessionStorage.getItem(KEPT) !== null;
export const useToken = (token) => sessionStorage.setItem(KEPT, token.trim());
export const dropToken = () => sessionStorage.removeItem(KEPT);

export const get = (place) => ask(place, {});
export const post = (place, body) => ask(place, { method: "POST", body });
export const postJson = (place, content) =>
  ask(place, {
    method: "POST",
    body: JSON.stringify(content),
    headers: { "content-type": "application/json" },
  });

export function form(files, fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  for (const file of files) data.append("files", file, file.name || "picture");
  return data;
}

async function ask(place, options) {
  const token = sessionStorage.getItem(KEPT);
  const headers = { ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(`/api/${place}`, { ...options, headers });
  } catch {
    throw new Refused(0, "The server does not answer; look whether it still runs.");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, content.error ?? `The server answers ${answer.status}.`);
  return { ...content, isPending: answer.status === 202 };
}
