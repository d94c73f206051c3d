// Requests to the API by session. An expired one is opened again in place, and the request repeated: nothing typed is lost.
const meta = () => document.querySelector('meta[name="csrf"]');

// `body` may be a function that makes it: after a new sign-in a form is read again, with its new token.
export async function call(method, path, body, signal) {
  const made = () => (typeof body === "function" ? body() : body);
  const reply = await send(method, path, made(), signal);
  if (reply.status !== 401 || !(await signInAgain())) return read(reply);
  return read(await send(method, path, made(), signal));
}

function send(method, path, body, signal) {
  const headers = { "X-CSRF-Token": meta()?.content ?? "" };
  const form = body instanceof FormData || body instanceof URLSearchParams;
  if (body !== undefined && !form) headers["Content-Type"] = "application/json";
  const text = body === undefined || form ? body : JSON.stringify(body);
  return fetch(path, { method, headers, body: text, signal, credentials: "same-origin" });
}

async function read(reply) {
  const text = await reply.text();
  const json = reply.headers.get("content-type")?.includes("json");
  return { status: reply.status, headers: reply.headers, body: json ? JSON.parse(text) : text };
}

let asking = null;

// One dialog, however many requests wait for it; tells whether the reader signed in.
function signInAgain() {
  asking ??= ask().catch(() => false).finally(() => { asking = null; });
  return asking;
}

async function ask() {
  const reply = await fetch("/sign-in?next=/help");
  const page = await parsed(reply);
  // Signed in again already, in another tab.
  if (reply.redirected) return take(page);
  const form = document.importNode(page.querySelector('form[action="/sign-in"]'), true);
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "sign-in-again");
  const title = document.createElement("h2");
  title.id = "sign-in-again";
  title.textContent = "Signed out after 8 h. Nothing typed is lost.";
  const problem = document.createElement("p");
  problem.setAttribute("role", "alert");
  const later = document.createElement("button");
  later.type = "button";
  later.className = "button";
  later.textContent = "Not now";
  later.addEventListener("click", () => dialog.close());
  form.querySelector("button").after(" ", later);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tried(form).then((words) => { words ? problem.textContent = words : dialog.close("signed in"); });
  });
  dialog.append(title, form, problem);
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((resolve) => { dialog.addEventListener("close", resolve); });
  dialog.remove();
  before?.focus?.();
  return dialog.returnValue === "signed in";
}

// Returns what is wrong, nothing once the session is open.
async function tried(form) {
  try {
    const reply = await fetch("/sign-in", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const page = await parsed(reply);
    if (reply.ok) return take(page) ? "" : "The session did not open: are cookies off?";
    return page.querySelector(".note")?.textContent.trim() || `The sign-in answered ${reply.status}.`;
  } catch {
    return "The console was not reached. Try again.";
  }
}

const parsed = async (reply) => new DOMParser().parseFromString(await reply.text(), "text/html");

// Gives this page the token of the new session.
function take(page) {
  const csrf = page.querySelector('meta[name="csrf"]')?.content;
  if (!csrf) return false;
  if (meta()) meta().content = csrf;
  document.querySelectorAll('input[name="csrf"]').forEach((field) => { field.value = csrf; });
  return true;
}
