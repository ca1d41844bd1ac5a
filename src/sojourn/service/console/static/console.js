// Live rows: when something was committed, the view is fetched again and its rows are patched in place. Reading needs no script.
"use strict";

const live = document.querySelector("[data-live]");

function patch(from, into) {
  for (const fresh of from.querySelectorAll("[data-part]")) {
    const old = into.querySelector(`[data-part="${CSS.escape(fresh.dataset.part)}"]`);
    if (!old || old.isEqualNode(fresh) || old.contains(document.activeElement)) continue;
    const known = new Map([...old.querySelectorAll("tr[data-row]")].map((row) => [row.dataset.row, row]));
    for (const row of fresh.querySelectorAll("tr[data-row]")) {
      const before = known.get(row.dataset.row);
      if (!before || before.dataset.version !== row.dataset.version) row.classList.add("fresh");
      const box = before && before.querySelector("input[type=checkbox]");
      if (box && box.checked) row.querySelector("input[type=checkbox]").checked = true;
    }
    old.replaceWith(document.importNode(fresh, true));
  }
}

let waiting = null;
async function refresh() {
  waiting = null;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  patch(page, document);
}

if (live) {
  const source = new EventSource(live.dataset.live);
  const status = document.querySelector("[data-status]");
  const changed = () => { if (waiting === null) waiting = setTimeout(refresh, 250); };
  source.addEventListener("changed", changed);
  source.addEventListener("open", () => { if (status) status.textContent = "live"; });
  source.addEventListener("error", () => { if (status) status.textContent = "reconnecting"; });
  addEventListener("pagehide", () => source.close());
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) {
    for (const box of document.querySelectorAll("tr[data-row] input[type=checkbox]")) box.checked = event.target.checked;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { const find = document.querySelector("form.find input"); if (find) { find.focus(); event.preventDefault(); } }
  const link = document.querySelector(`nav.side a[accesskey="${CSS.escape(event.key)}"]`);
  if (link) link.click();
});

// Countdowns run down between two looks at the store, from the stored deadline and the store's own time.
function tick() {
  for (const time of document.querySelectorAll("time.countdown")) {
    if (!time.dataset.began) time.dataset.began = performance.now();
    const left = (Date.parse(time.dateTime) - Date.parse(time.dataset.now) - (performance.now() - Number(time.dataset.began))) / 1000;
    time.textContent = left > 0 ? `${Math.ceil(left)} s` : "closing";
  }
}
if (document.querySelector("[data-live]")) setInterval(tick, 200);
