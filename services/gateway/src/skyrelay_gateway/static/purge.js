// Removing stacks from a telescope, in two steps: what would go, and then, once more asked for, away with it.
"use strict";

(() => {
  const dialog = document.getElementById("purge");
  const words = dialog.querySelector("[data-words]");
  const confirm = dialog.querySelector("[data-confirm-purge]");
  const undelivered = document.getElementById("purge-undelivered");
  const LOOK_MS = 1000;
  let name = "";
  let round = 0; // a list that was asked for before is not shown any more
  let token = null;

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-purge]");
    if (button !== null) {
      name = button.dataset.purge;
      dialog.querySelector("[data-name]").textContent = name;
      undelivered.checked = false;
      dialog.showModal();
      list();
    }
  });
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { round += 1; });
  undelivered.addEventListener("change", list);
  confirm.addEventListener("click", remove);

  async function list() {
    const mine = (round += 1);
    show(dialog.dataset.listing, [], null);
    try {
      let answer = await ask("api/v1/purge", { telescopes: [name], undelivered: undelivered.checked });
      while (answer.purge.state === "listing" && answer.note === null && mine === round) {
        answer = await ask("api/v1/purge", { purge_id: answer.purge.id });
      }
      if (mine === round) {
        show(answer.note ?? summary(answer.purge), files(answer.purge), answer.token);
      }
    } catch (problem) {
      show(problem.message, [], null);
    }
  }

  async function remove() {
    const mine = round;
    confirm.disabled = true;
    try {
      let purge = await ask("api/v1/purge/confirm", { token });
      while (purge.state === "removing" && mine === round) {
        show(dialog.dataset.removing, files(purge), null);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        purge = await ask(`api/v1/purges/${purge.id}`);
      }
      if (mine === round) {
        show(fill(dialog.dataset.done, { n: purge.files.removed ?? 0 }), files(purge), null);
      }
    } catch (problem) {
      show(problem.message, [], null);
    }
  }

  async function ask(path, body) {
    const answer = body === undefined ? await fetch(new URL(path, ROOT)) : await send(path, JSON.stringify(body));
    const said = await answer.json();
    if (!answer.ok) {
      throw new Error(sentence(said));
    }
    return said;
  }

  function summary(purge) {
    const doomed = purge.files.doomed ?? 0;
    const kept = purge.files.kept ?? 0;
    const size = `${(purge.doomed_bytes / 1e6).toFixed(1)} MB`;
    const reasons = purge.telescopes.map((part) => part.reason).filter(Boolean);
    return [
      doomed ? fill(dialog.dataset.doomed, { n: doomed, size }) : dialog.dataset.nothing,
      kept ? fill(dialog.dataset.kept, { n: kept }) : "",
      ...reasons,
    ].filter(Boolean).join(" ");
  }

  function files(purge) {
    return purge.telescopes.flatMap((part) => part.files.map((file) => [`${file.folder}/${file.name}`, file.state, file.reason]));
  }

  function fill(text, values) {
    return text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }

  function show(text, lines, fresh) {
    words.textContent = text;
    token = fresh;
    confirm.disabled = fresh === null;
    const details = dialog.querySelector("details");
    details.hidden = lines.length === 0;
    details.querySelector("ul").replaceChildren(...lines.map(([path, state, reason]) => {
      const item = document.createElement("li");
      item.textContent = [path, state, reason].filter(Boolean).join(" · ");
      return item;
    }));
  }
})();
