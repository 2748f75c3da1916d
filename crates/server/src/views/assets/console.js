// What the pages do beyond plain forms: times in the reader's zone, filters that apply themselves, copying, and following the fleet.
// Without it every page works; nothing here makes markup from text.
"use strict";

const language = document.documentElement.lang;

// Times.

const units = [["year", 31536000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const ages = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });

function age(at) {
  const seconds = Math.max(0, Math.floor((Date.now() - at) / 1000));
  if (seconds < 5) return null;
  for (const [unit, size] of units) {
    // Until the second day hours say more.
    if (seconds >= (unit === "day" ? 172800 : size)) {
      return ages.format(-Math.floor(seconds / size), unit).replace(".", "");
    }
  }
  return null;
}

function clock(at) {
  const two = (n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

function showTimes(root) {
  for (const time of root.querySelectorAll("time[data-time]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = time.dataset.time === "clock" ? clock(at) : age(at);
    if (text !== null && time.textContent !== text) time.textContent = text;
  }
}

showTimes(document);
setInterval(() => showTimes(document), 15000);

// Filters: a choice applies at once, what is typed with Enter.

for (const form of document.querySelectorAll("form[data-auto]")) {
  for (const select of form.querySelectorAll("select")) {
    select.addEventListener("change", () => form.requestSubmit());
  }
  // Empty fields would only lengthen the address.
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  });
}
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[data-auto] :disabled")) field.disabled = false;
});

// A menu closes when one goes elsewhere.

for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) { menu.open = false; menu.querySelector("summary").focus(); }
  });
}

// Following the fleet: when something changed, the page is fetched anew, and what differs is put in the place of what was.

const main = document.querySelector("main[data-follow]");
const sign = document.querySelector("[data-live-state]");

function say(on) {
  if (!sign) return;
  sign.hidden = false;
  sign.classList.toggle("off", !on);
  sign.textContent = on ? sign.dataset.on : sign.dataset.off;
}

const PAUSE_MS = 1500;
let wanted = false;
let running = false;

async function refresh() {
  wanted = true;
  if (running || document.hidden) return;
  running = true;
  while (wanted && !document.hidden) {
    wanted = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
      // The session is over: what there is to see now, the server says.
      if (answer.type === "opaqueredirect") location.reload();
      else if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The server is away: the stream says so, and comes again.
    }
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
  running = false;
}

function take(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.querySelector(`[data-live="${old.dataset.live}"]`);
    if (!now) continue;
    showTimes(now);
    if (old.innerHTML === now.innerHTML) continue;
    // Whoever stands on a link goes on standing on it.
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceChildren(...now.childNodes);
    if (focused) [...old.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
    old.classList.remove("changed");
    requestAnimationFrame(() => old.classList.add("changed"));
  }
}

const AGAIN_MS = 5000;

function follow(lost) {
  const stream = new EventSource(main.dataset.follow);
  stream.addEventListener("open", () => { say(true); if (lost) refresh(); lost = false; });
  stream.addEventListener("change", (event) => {
    const told = JSON.parse(event.data);
    // A page about one device or rollout waits for news of that one; a new alarm changes the count on every page.
    const about = main.dataset.about;
    const named = [...told.devices, ...told.rollouts.map((id) => `rollout-${id}`)];
    if (!about || told.many || told.alarms.length > 0 || named.includes(about)) refresh();
  });
  stream.addEventListener("error", () => {
    lost = true;
    say(false);
    // Refused, not broken off: the browser does not try again by itself.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => { refresh(); follow(true); }, AGAIN_MS);
  });
}

if (main && window.EventSource) {
  follow(false);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && wanted) refresh(); });
}
