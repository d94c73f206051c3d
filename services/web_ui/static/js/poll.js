// Asks an address again and again: not while the page is hidden or paused, slower after failures, nothing twice (ETag).
const BACK_OFF = [5, 10, 20, 30];

export function poll(address, seconds, show, told = () => {}) {
  let etag = "";
  let failures = 0;
  let timer = 0;
  let paused = false;

  async function ask() {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    try {
      const reply = await fetch(address, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
      if (reply.status === 401 || reply.redirected) {
        told({ signedOut: true });
        return;
      }
      if (reply.status !== 304) {
        if (!reply.ok) throw new Error(String(reply.status));
        etag = reply.headers.get("etag") ?? "";
        show(await reply.json());
      }
      failures = 0;
      told({ live: true, seconds });
    } catch (error) {
      failures += 1;
      told({ failed: true, seconds: wait(), error });
    }
    clearTimeout(timer);
    timer = setTimeout(ask, wait() * 1000);
  }

  const wait = () => (failures ? BACK_OFF[Math.min(failures, BACK_OFF.length) - 1] : seconds);

  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  timer = setTimeout(ask, seconds * 1000);
  return {
    now: ask,
    pause(on) {
      paused = on;
      told({ paused, seconds });
      if (!on) ask();
    },
  };
}
