// The page without this script is the same page: it only looks again by itself, and makes the buttons work.
"use strict";

const LOOK_AGAIN_MS = 5000;

async function lookAgain() {
  if (document.hidden || String(document.getSelection()) !== "") {
    return;
  }
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    replaceMain(fresh);
  } catch {
    say("Skyrelay does not answer", "needs");
  }
}

function replaceMain(fresh) {
  const before = document.querySelector("main");
  const after = fresh.querySelector("main");
  if (after === null || before.isEqualNode(after) || before.querySelector("button:disabled")) {
    return;
  }
  for (const details of before.querySelectorAll("details[open][id]")) {
    after.querySelector("#" + CSS.escape(details.id))?.setAttribute("open", "");
  }
  before.replaceWith(document.adoptNode(after));
  document.title = fresh.title;
  showButtons();
}

function showButtons() {
  for (const button of document.querySelectorAll("button[data-post]")) {
    button.hidden = false;
    button.addEventListener("click", () => post(button));
  }
}

async function post(button) {
  button.disabled = true;
  try {
    const answer = await fetch(button.dataset.post, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: button.dataset.body,
    });
    const said = await answer.json();
    button.textContent = answer.ok ? "Asked for" : said.detail;
  } catch {
    button.textContent = "No answer: try again";
  }
  setTimeout(() => { button.disabled = false; lookAgain(); }, 1500);
}

function say(words, kind) {
  const headline = document.querySelector(".headline");
  headline.className = "headline " + kind;
  headline.lastChild.textContent = words;
}

showButtons();
setInterval(lookAgain, LOOK_AGAIN_MS);
