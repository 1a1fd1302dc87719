// The pages without this script are the same pages: it only keeps them up to date, makes the buttons work
// and changes the theme. htmx fetches; this file says when.
"use strict";

const ROOT = new URL(document.body.dataset.root || "./", location.href);
const POLL_MS = 10000; // while there are no events to hear
const GATHER_MS = 400; // several events within it are one look
const SPREAD_MS = 600; // many viewers do not all look at the same moment
const CLOCK_MS = 15000;

// ---- live: look again when something has changed

let lookTimer = null;
let missedWhileHidden = false;

function lookAgain() {
  if (lookTimer !== null) {
    return;
  }
  if (document.hidden) {
    missedWhileHidden = true;
    return;
  }
  lookTimer = setTimeout(() => {
    lookTimer = null;
    htmx.trigger(document.body, "sky:changed");
  }, GATHER_MS + Math.random() * SPREAD_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && missedWhileHidden) {
    missedWhileHidden = false;
    lookAgain();
  }
});

// A telescope that was only seen once more is no change: the time of it goes on by itself.
const telescopes = new Map();

function isNews(event) {
  const { last_seen_at: _, ...telescope } = JSON.parse(event.data);
  const before = telescopes.get(telescope.id);
  const after = JSON.stringify(telescope);
  telescopes.set(telescope.id, after);
  return before !== undefined && before !== after;
}

let poll = null;

function hear() {
  const events = new EventSource(new URL("api/v1/events", ROOT));
  let isFirst = true;
  events.addEventListener("hello", () => {
    clearInterval(poll);
    poll = null;
    if (!isFirst) {
      lookAgain(); // it was away
    }
    isFirst = false;
  });
  events.addEventListener("telescope", (event) => isNews(event) && lookAgain());
  for (const name of ["change", "progress", "frames", "reload"]) {
    events.addEventListener(name, lookAgain);
  }
  events.addEventListener("error", () => {
    poll ??= setInterval(lookAgain, POLL_MS);
    if (events.readyState === EventSource.CLOSED) {
      setTimeout(hear, POLL_MS);
    }
  });
  addEventListener("pagehide", () => events.close());
}

if (document.querySelector("[data-live], #headline") !== null) {
  hear();
}

// ---- what htmx brings: keep what a person opened or reads, and leave alone what is the same

document.addEventListener("htmx:beforeSwap", (event) => {
  const target = event.detail.target;
  if (!target || !target.matches("[data-live]")) {
    return;
  }
  if (new URL(event.detail.xhr.responseURL).pathname.endsWith("/login")) {
    location.reload(); // the login has ended
    event.detail.shouldSwap = false;
    return;
  }
  const isRead = String(document.getSelection()) !== "" || target.querySelector("button:disabled, [aria-busy=true]");
  if (isRead) {
    event.detail.shouldSwap = false;
    return;
  }
  const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").getElementById(target.id);
  if (fresh === null) {
    event.detail.shouldSwap = false;
    return;
  }
  const isSame = fresh.outerHTML === target.dataset.asFetched;
  event.detail.shouldSwap = !isSame;
  pending.set(target.id, fresh.outerHTML);
  openBefore.set(target.id, [...target.querySelectorAll("details[open][id]")].map((each) => each.id));
});

const pending = new Map();
const openBefore = new Map();

document.addEventListener("htmx:afterSwap", (event) => {
  const id = event.detail.target?.id;
  const fresh = id ? document.getElementById(id) : null;
  if (fresh !== null && pending.has(id)) {
    fresh.dataset.asFetched = pending.get(id);
    for (const each of openBefore.get(id) ?? []) {
      document.getElementById(each)?.setAttribute("open", "");
    }
  }
  dress(fresh ?? document);
});

for (const kind of ["htmx:sendError", "htmx:responseError"]) {
  document.addEventListener(kind, () => showSilence(true));
}
document.addEventListener("htmx:afterOnLoad", () => showSilence(false));

function showSilence(isSilent) {
  document.documentElement.classList.toggle("silent", isSilent);
  const headline = document.getElementById("headline");
  if (isSilent && headline !== null) {
    headline.className = "headline needs";
    headline.textContent = document.body.dataset.noAnswer;
  }
}

// ---- buttons that have something done

function dress(within) {
  for (const button of within.querySelectorAll("[data-post][hidden], .themes[hidden], [data-script][hidden]")) {
    button.hidden = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (button !== null) {
    event.preventDefault();
    act(button);
  }
  const choice = event.target.closest("button[data-theme-name]");
  if (choice !== null) {
    choose(choice.dataset.themeName);
  }
});

async function act(button) {
  if (button.dataset.confirm && !(await isConfirmed(button))) {
    return;
  }
  button.disabled = true;
  try {
    const answer = await send(button.dataset.post, button.dataset.body || "{}");
    const said = await answer.json();
    say(answer.ok ? said.note || button.dataset.done || document.body.dataset.done : sentence(said), answer.ok);
  } catch {
    say(document.body.dataset.noAnswer, false);
  }
  button.disabled = false;
  lookAgain();
}

function send(path, body) {
  return fetch(new URL(path, ROOT), {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body,
  });
}

function sentence(problem) {
  return [problem.detail, problem.what_to_do].filter(Boolean).join(" ");
}

function isConfirmed(button) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = button.dataset.confirmTitle || button.textContent;
  document.getElementById("confirm-text").textContent = button.dataset.confirm;
  document.getElementById("confirm-yes").textContent = button.textContent.trim();
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

let silenceTimer = null;

function say(words, isGood) {
  const said = document.getElementById("said");
  said.textContent = words;
  said.className = `said shown ${isGood ? "good" : "bad"}`;
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(() => said.classList.remove("shown"), isGood ? 4000 : 12000);
}

// ---- the theme

const THEMES = ["light", "dark", "red"];
const COOKIE = "skyrelay-theme";

function choose(name) {
  const year = 365 * 24 * 3600;
  const age = name === "auto" ? 0 : year;
  document.cookie = `${COOKIE}=${name}; path=${ROOT.pathname}; max-age=${age}; samesite=lax`;
  show(name);
}

function show(name) {
  if (THEMES.includes(name)) {
    document.documentElement.dataset.theme = name;
  } else {
    delete document.documentElement.dataset.theme;
  }
  for (const button of document.querySelectorAll("button[data-theme-name]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeName === name));
  }
}

const chosen = document.cookie.split("; ").find((each) => each.startsWith(`${COOKIE}=`));
if (chosen !== undefined) {
  show(chosen.slice(COOKIE.length + 1));
}

// ---- forms that show at once what was chosen, and the stretch of a stack

document.addEventListener("change", (event) => event.target.form?.matches("[data-submit-on-change]") && event.target.form.submit());
for (const button of document.querySelectorAll("[data-submit-on-change] button, [data-without-script]")) {
  button.hidden = true;
}

document.addEventListener("change", (event) => {
  const form = event.target.form;
  const image = document.getElementById("shown");
  if (form?.dataset.stretch && image !== null) {
    image.classList.add("drawing");
    image.addEventListener("load", () => image.classList.remove("drawing"), { once: true });
    image.src = `${form.dataset.stretch}&${new URLSearchParams(new FormData(form))}`;
    history.replaceState(null, "", `?${new URLSearchParams(new FormData(form))}`);
  }
});

document.addEventListener("click", (event) => event.target.closest("[data-print]") && print());

// ---- "3 min ago" goes on

const LENGTHS_S = [86400, 3600, 60, 1];

function tick() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    time.textContent = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
  }
}

function ago(seconds) {
  const words = document.body.dataset;
  if (Math.abs(seconds) < 5) {
    return words.now;
  }
  const place = LENGTHS_S.findIndex((each) => Math.abs(seconds) >= each);
  const span = `${Math.floor(Math.abs(seconds) / LENGTHS_S[place])} ${words.units.split(" ")[place]}`;
  return (seconds > 0 ? words.ago : words.ahead).replace("{span}", span);
}

setInterval(tick, CLOCK_MS);
dress(document);
