// The outcomes of a replay: looked up each second while letters are on their way, and batch after batch until stopped.
const WATCHED = 120; // seconds
let running = false;
let watching = false;

const part = () => document.querySelector("[data-outcomes]");
const standing = () => `${location.href} ${part().querySelector("[data-left]")?.textContent}`;
const pause = () => new Promise((resolve) => { setTimeout(resolve, 1000); });

async function take(reply) {
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const fresh = page.querySelector("[data-outcomes]");
  if (!reply.ok || !fresh) throw new Error(String(reply.status));
  const note = page.querySelector(".flash");
  const shown = document.querySelector(".flash");
  if (note && shown) shown.replaceWith(document.importNode(note, true));
  part().replaceWith(document.importNode(fresh, true));
  history.replaceState(null, "", reply.url);
  document.title = page.title;
  offer();
}

async function run() {
  running = true;
  offer();
  while (running && part().querySelector("[data-following]")) {
    const form = part().querySelector("[data-following]");
    const before = standing();
    await take(await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) })).catch(() => { running = false; });
    if (standing() === before) running = false; // nothing moves any more, such as in front of a full queue
  }
  running = false;
  offer();
  watch();
}

function offer() {
  const start = document.querySelector("[data-run]");
  const stop = document.querySelector("[data-stop]");
  if (!start) return;
  start.hidden = running;
  stop.hidden = !running;
  start.onclick = run;
  stop.onclick = () => { running = false; };
}

async function watch() {
  if (watching) return;
  watching = true;
  const until = Date.now() + WATCHED * 1000;
  while (!running && part().hasAttribute("data-waiting") && Date.now() < until) {
    await pause();
    if (document.hidden || running || part().contains(document.activeElement)) continue;
    await fetch(location.href).then((reply) => running || take(reply)).catch(() => {});
  }
  watching = false;
}

offer();
watch();
