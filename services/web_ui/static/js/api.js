// Requests to the API by session. An expired one is opened again in place, and the request repeated: nothing typed is lost.
const meta = () => document.querySelector('meta[name="csrf"]');

export async function call(method, path, body, signal) {
  const reply = await send(method, path, body, signal);
  if (reply.status !== 401) return read(reply);
  await signInAgain();
  return read(await send(method, path, body, signal));
}

export function send(method, path, body, signal) {
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

export async function signInAgain() {
  const page = new DOMParser().parseFromString(await (await fetch("/sign-in")).text(), "text/html");
  const form = document.importNode(page.querySelector("form"), true);
  const dialog = document.createElement("dialog");
  const title = document.createElement("h2");
  title.textContent = "Signed out after 8 h. Nothing typed is lost.";
  const problem = document.createElement("p");
  problem.setAttribute("role", "alert");
  dialog.append(title, form, problem);
  document.body.append(dialog);
  const before = document.activeElement;
  dialog.showModal();
  await new Promise((resolve, reject) => {
    dialog.addEventListener("close", () => reject(new Error("not signed in")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const reply = await fetch("/sign-in", { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (!reply.ok) {
        problem.textContent = reply.status === 429 ? "Too many failed tries: wait a moment." : "This key is not known.";
        return;
      }
      const html = new DOMParser().parseFromString(await reply.text(), "text/html");
      const csrf = html.querySelector('meta[name="csrf"]')?.content;
      if (!csrf) return;
      if (meta()) meta().content = csrf;
      document.querySelectorAll('input[name="csrf"]').forEach((field) => { field.value = csrf; });
      resolve();
    });
  }).finally(() => {
    dialog.remove();
    before?.focus?.();
  });
}
