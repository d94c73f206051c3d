// A journey's page: its texts as tabs, copying, and the page again while the event is under way.
import { copying } from "./copy.js";

const tabs = document.querySelector("[data-tabs]");

if (tabs) {
  const links = [...tabs.querySelectorAll("[data-tab]")];
  const show = (wanted) => {
    for (const link of links) {
      const current = link.dataset.tab === wanted;
      document.getElementById(link.dataset.tab).hidden = !current;
      if (current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  tabs.classList.add("tabbed");
  show(links.some((link) => `#${link.dataset.tab}` === location.hash) ? location.hash.slice(1) : links[0].dataset.tab);
  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", `#${link.dataset.tab}`);
      show(link.dataset.tab);
    });
  }
  copying(tabs.querySelector("[data-copy-body]"), () => tabs.querySelector(".body:not([hidden])").dataset.raw);
}

const id = document.querySelector("[data-copy]");
if (id) copying(id, () => id.dataset.copy);

// Asked again each 2 s at first, later less often; not while hidden, and not under a reader who selects something.
const live = document.querySelector("[data-under-way]");
if (live) {
  live.textContent = "Under way, asked every 2 s";
  let seconds = 2;
  let answered = true;
  const again = async () => {
    if (!document.hidden && !String(getSelection())) {
      const reply = await fetch(location.pathname, { redirect: "manual" }).catch(() => null);
      if (reply?.type === "opaqueredirect") {
        live.textContent = "Signed out: reload to sign in and see more";
        return undefined;
      }
      answered = Boolean(reply?.ok);
      if (reply?.ok) {
        const page = new DOMParser().parseFromString(await reply.text(), "text/html");
        const fresh = page.querySelector(".spine"), title = page.querySelector("#outcome");
        if (!page.querySelector("[data-under-way]")) return location.reload();
        if (fresh) document.querySelector(".spine").replaceWith(document.adoptNode(fresh));
        if (title) document.querySelector("#outcome").replaceWith(document.adoptNode(title));
      }
    }
    seconds = Math.min(seconds * 1.1, 30);
    live.textContent = answered
      ? `Under way, asked every ${Math.round(seconds)} s`
      : `Under way when last seen; the console does not answer, asked every ${Math.round(seconds)} s`;
    setTimeout(again, seconds * 1000);
    return undefined;
  };
  setTimeout(again, seconds * 1000);
}
