// Asks the server for its status, and shows it.
"use strict";

// How often the server is asked, and how long it may take to respond, in milliseconds.
const EVERY = 2000;
const PATIENCE = 5000;

let lastAnswer = null;
let timer = null;
let isAsking = false;
let build = null;

// Whether the page is of another build than the server. Then it is reloaded, but only once for each build, since behind
// a load balancer two builds may answer in turn.
function isReplaced({ server }) {
  const now = `${server.version} ${server.commit}`;
  const before = build;
  build = now;
  if (before === null || before === now) return false;
  try {
    const seen = JSON.parse(sessionStorage.getItem("builds") ?? "[]");
    if (seen.includes(now)) return false;
    sessionStorage.setItem("builds", JSON.stringify([...seen, now]));
  } catch {
    // The browser stores nothing for this page.
    return false;
  }
  location.reload();
  return true;
}

function show(status) {
  showFacts(status);
  showSummary(status);
  showTiles(status);
  showDevices(status);
  for (const chart of charts) chart.show(status);
  showExpected(status);
  showIncidents(status);
  showConfiguration(status);
  lastAnswer = Date.now();
  set($("updated"), `Updated ${clock(lastAnswer)}, every ${EVERY / 1000} s; times are ${zone(new Date(lastAnswer))}`);
  $("stale").hidden = true;
  document.body.classList.remove("is-stale");
}

// Marks what is shown as out of date, for this reason.
function showStale(why) {
  set($("stale"), `✕ ${why}`);
  $("stale").hidden = false;
  document.body.classList.add("is-stale");
}

function showSilence(problem) {
  const since = lastAnswer === null ? "" : ` since ${clock(lastAnswer)}. What is shown below is what it said then`;
  showStale(`The server does not answer${since} (${problem}). It is asked again every ${EVERY / 1000} seconds.`);
  if (lastAnswer === null) set($("headline"), "Nothing is known of the server yet.");
}

async function ask() {
  const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

// A hidden page does not ask.
async function update() {
  clearTimeout(timer);
  if (isAsking || document.hidden) return;
  isAsking = true;
  try {
    let status = null;
    let problem = "";
    try {
      status = await ask();
    } catch (error) {
      problem = error.name === "TimeoutError" ? "no answer in time" : error.name === "TypeError" ? "it cannot be reached" : error.message;
    }
    if (status === null) showSilence(problem);
    else if (!isReplaced(status)) show(status);
  } catch (error) {
    showStale("This page does not understand the server's answer: load it again.");
    console.info(error);
  } finally {
    isAsking = false;
    timer = setTimeout(update, EVERY);
  }
}

// A page that was hidden shows old data until there is a response.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && lastAnswer !== null && Date.now() - lastAnswer > 3 * EVERY)
    showStale(`What is shown below is of ${moment(lastAnswer, Date.now())}. The server is being asked.`);
  update();
});
update();
