// The events that came since the page was shown: counted for the pill, or put in front where the reader asked for it.
const tail = document.querySelector("[data-tail]");
const SECONDS = 5, BACK_OFF = [5, 10, 20, 30], ROWS_MOST = 500;

if (tail && tail.dataset.off === undefined) {
  const pill = tail.querySelector("[data-tail-pill]");
  const follow = tail.querySelector("[data-tail-follow]");
  const rows = document.querySelector("[data-tail-rows]");
  const state = document.querySelector("[data-tail-state]");
  const pause = document.querySelector("[data-tail-pause]");
  let paused = false, signedOut = false, failures = 0, timer = 0, url = tail.dataset.url;

  tail.hidden = false;
  state.hidden = false;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    tell();
    if (!paused) look();
  });
  follow.addEventListener("change", () => { if (follow.checked) look(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

  function tell() {
    if (paused) state.textContent = "Paused";
    else if (signedOut) state.textContent = "Signed out: reload to sign in";
    else if (failures) state.textContent = `Not reached, asking every ${wait()} s`;
    else state.textContent = `Live, every ${SECONDS} s`;
    const kind = paused ? "waiting" : signedOut || failures ? "warn" : "ok";
    document.querySelectorAll("[data-tail-kind]").forEach((each) => { each.hidden = each.dataset.tailKind !== kind; });
  }

  const wait = () => (failures ? BACK_OFF[Math.min(failures, BACK_OFF.length) - 1] : SECONDS);

  async function look() {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    try {
      const reply = await fetch(url, { headers: { Accept: "application/json" }, redirect: "manual" });
      signedOut = reply.type === "opaqueredirect";
      if (!reply.ok) throw new Error(String(reply.status));
      const { newer, most } = await reply.json();
      failures = 0;
      if (newer && follow.checked) await bring();
      else show(newer, most);
    } catch {
      failures += 1;
    }
    tell();
    clearTimeout(timer);
    timer = setTimeout(look, wait() * 1000);
  }

  function show(newer, most) {
    pill.hidden = !newer;
    const count = newer >= most ? `${most} and more` : String(newer);
    pill.querySelector("span").textContent = `${count} new ${newer === 1 ? "event" : "events"}`;
  }

  // The page itself is asked for again, and its new rows are moved in: the server escapes, nothing is built from text.
  async function bring() {
    const reply = await fetch(tail.dataset.reload, { redirect: "error" });
    if (!reply.ok) throw new Error(String(reply.status));
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const known = new Set([...rows.children].map((row) => row.dataset.id));
    const fresh = [...page.querySelectorAll("[data-tail-rows] > tr")].filter((row) => !known.has(row.dataset.id));
    rows.querySelectorAll(".fresh").forEach((row) => row.classList.remove("fresh"));
    fresh.forEach((row) => row.classList.add("fresh"));
    // A page full of new ones: what lies between them and the rows here is on the page's older pages alone.
    if (fresh.length && fresh.length === page.querySelectorAll("[data-tail-rows] > tr").length) rows.replaceChildren();
    const height = document.documentElement.scrollHeight;
    rows.prepend(...fresh.map((row) => document.adoptNode(row)));
    while (rows.children.length > ROWS_MOST) rows.lastElementChild.remove();
    if (scrollY > 200) scrollBy(0, document.documentElement.scrollHeight - height);
    const next = page.querySelector("[data-tail]");
    if (next) url = next.dataset.url;
    pill.hidden = true;
  }

  tell();
  timer = setTimeout(look, SECONDS * 1000);
}
