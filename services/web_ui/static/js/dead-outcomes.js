// The outcomes of a replay: looked up each second at first, then less often, while letters are on their way, and batch after batch until stopped.
const WATCHED = 120; // seconds
const DRAINS = 60; // tries, 2 s apart, while the queue behind them stays full
let running = false;
let watching = false;

const part = () => document.querySelector("[data-outcomes]");
const standing = () => `${location.href} ${part().dataset.moved}`;
const pause = (seconds) => new Promise((resolve) => { setTimeout(resolve, seconds * 1000); });
const say = (words) => { const left = part().querySelector("[data-left]"); if (left) left.textContent = words; };

async function take(reply) {
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const fresh = page.querySelector("[data-outcomes]");
  if (!reply.ok || !fresh) {
    const isOut = reply.status === 401 || new URL(reply.url).pathname === "/sign-in";
    throw new Error(isOut ? "you are signed out; reload the page to sign in" : `the console answered ${reply.status}`);
  }
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
  let tries = 0;
  let problem = "";
  while (running && !problem && part().querySelector("[data-following]")) {
    const form = part().querySelector("[data-following]");
    const before = standing();
    await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }).then(take)
      .catch((error) => { problem = error instanceof TypeError ? "the console does not answer" : error.message; });
    if (problem) break;
    tries = standing() === before || part().hasAttribute("data-full") ? tries + 1 : 0;
    if (!part().hasAttribute("data-full")) {
      if (tries) problem = "the last batch changed nothing";
    } else if (tries >= DRAINS) problem = "the queue behind them stays full";
    else await pause(2);
  }
  running = false;
  offer();
  if (problem) say(`Stopped: ${problem}.`);
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
  let seconds = 1;
  while (!running && part().hasAttribute("data-waiting") && Date.now() < until) {
    await pause(seconds);
    seconds = Math.min(seconds * 1.2, 10);
    if (document.hidden || running || part().contains(document.activeElement)) continue;
    await fetch(location.href).then((reply) => running || take(reply)).catch(() => {});
  }
  watching = false;
}

offer();
watch();
