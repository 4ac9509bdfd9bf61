// The summary: the state of the server in a sentence, and what is wrong.
"use strict";

const STATES = {
  up: ["good", "up"],
  standby: ["calm", "standing by"],
  unresponsive: ["warn", "unresponsive"],
  down: ["bad", "down"],
};
// The server may be newer than this page.
const stateOf = (device) => STATES[device.state] ?? ["calm", device.state];
const REFUSED = ["queue_full", "no_device", "closed", "deadline", "overloaded", "clock_wrong"];
const WRONG = ["invalid", "unauthorized", "limited"];
const total = (requests, outcomes) => outcomes.reduce((sum, outcome) => sum + requests[outcome], 0);

// Where the time of slow requests goes. Searching includes the slots of other searches.
function slowness({ wait, solve, total: all }, queue, expected) {
  const begin = `Requests take ${seconds(all.p50)} (median)`;
  if (solve.p50 < 0.1 * wait.p50) return `${begin}, nearly all of it waiting for a device: load is to blame, not the devices' speed.`;
  const parts = wait.p50 < 0.1 * solve.p50 ? ", nearly all of it searching." : `: they wait ${seconds(wait.p50)} for a device, and are searched for ${seconds(solve.p50)} (medians).`;
  const shared = queue.running > 1 ? ` ${count(queue.running)} searches share the devices, so each takes longer than alone.` : "";
  const alone = expected.length ? ` A search for ${expected[0].network} needs ${seconds(expected[0].mean_seconds)} on average when it has all devices to itself.` : "";
  return begin + parts + shared + alone;
}

// The state of the server in a sentence, and its findings: what is wrong, since when, why, and what to do.
function judge(status) {
  const { server, devices, queue, history, expected } = status;
  const minute = history.last_minute;
  const findings = [];
  const say = (level, kind, text) => findings.push({ level, kind, text });
  const serving = devices.filter((device) => device.state === "up");
  const out = devices.filter((device) => device.state === "down" || device.state === "unresponsive");
  const rate = serving.reduce((sum, device) => sum + device.hash_rate, 0);

  for (const device of out) {
    const since = device.since === null ? "" : ` since ${moment(device.since, status.at)} (${seconds(Math.max(0, status.at - device.since) / 1e3)})`;
    const why = device.last_error ? `: ${sentence(device.last_error)}` : ".";
    const who = serving.length ? `${list(serving.map((other) => other.name))} ${serving.length === 1 ? "serves" : "serve"} meanwhile.` : "No other device serves.";
    const what = device.state === "down"
      ? "The server keeps reopening it; if it stays down, look at the driver's messages (dmesg) and restart the driver or the machine."
      : "It has not returned its batch. It serves again once it does or can be reopened; if it stays unresponsive, restart the server.";
    say(serving.length ? "warn" : "bad", `out ${device.name}`, `${device.name} is ${device.state}${since}${why} ${who} ${what}`);
  }

  const missing = status.missing_cards;
  if (missing) {
    const who = serving.length ? `, ${list(serving.map((device) => device.name))} ${serving.length === 1 ? "serves" : "serve"}` : "";
    const what = devices.some((device) => device.backend === "gpu") ? "Not every card is used" : `No card is used${who}`;
    say(missing.is_expected ? "warn" : "calm", "missing cards", sentence(`${what}: ${missing.reasons.join("; ")}`));
  }

  const refusals = [
    ["queue_full", "because the queue was full: more comes in than the devices can search. Add devices or servers, or send less."],
    ["deadline", "because there was no work within the deadline: too many searches wait, or the devices are too slow for the network."],
    ["no_device", "because no device was in service."],
    ["closed", "because the server is stopping."],
    ["overloaded", "because as many requests were in progress as allowed."],
    ["clock_wrong", "because the machine's clock is not set: set it, for example by NTP."],
  ];
  for (const [outcome, why] of refusals)
    if (minute.requests[outcome])
      say("bad", outcome, `${plural(minute.requests[outcome], "request was", "requests were")} refused in the last minute ${why}`);

  if (queue.waiting > 0) {
    const wait = queue.expected_wait_seconds === null ? "" : ` One more would wait ${seconds(queue.expected_wait_seconds)} for a slot on average.`;
    say("warn", "waiting", `${plural(queue.waiting, "search waits", "searches wait")} behind the ${queue.running} that run: more comes in than the devices can search at once.${wait}`);
  }
  if (minute.wait && minute.solve && minute.total?.p50 >= 1) say("calm", "slow", slowness(minute, queue, expected));

  const wrong = total(minute.requests, WRONG);
  if (wrong) {
    const kinds = [["invalid", "invalid"], ["unauthorized", "without a known API key"], ["limited", "beyond the limit of their API key"]]
      .filter(([outcome]) => minute.requests[outcome]).map(([outcome, words]) => `${count(minute.requests[outcome])} ${words}`);
    say("calm", "wrong", `${plural(wrong, "request was", "requests were")} the client's fault in the last minute: ${list(kinds)}.`);
  }
  if (minute.requests.cancelled)
    say("calm", "cancelled", `${plural(minute.requests.cancelled, "client", "clients")} disconnected in the last minute before there was an answer.`);
  for (const device of serving)
    if (device.faults)
      say("calm", "faults", `${device.name} serves, and has failed ${device.faults === 1 ? "once" : `${count(device.faults)} times`} since the start${device.last_error ? `; the last time: ${sentence(device.last_error)}` : "."}`);

  const idle = [["down", "down"], ["unresponsive", "unresponsive"], ["standby", "standing by"]]
    .map(([state, words]) => [devices.filter((device) => device.state === state).length, words])
    .filter(([number]) => number).map(([number, words]) => `${number} ${words}`);
  const cards = `${serving.length} of ${plural(devices.length, "device", "devices")}${idle.length ? ` (${list(idle)})` : ""}`;
  let level = findings.some((finding) => finding.level === "bad") ? "bad" : findings.some((finding) => finding.level === "warn") ? "warn" : "good";
  let headline;
  if (server.phase === "starting") {
    level = "calm";
    headline = "Starting: the devices are being opened, and requests are not taken yet.";
  } else if (!server.can_serve) {
    level = "bad";
    headline = "Not serving: no device is in service, so every request is refused with 503.";
  } else if (server.phase === "leaving") {
    level = "warn";
    headline = "Stopping soon: not ready any more, requests are still served.";
  } else if (server.phase === "draining") {
    level = "warn";
    headline = `Stopping: ${plural(queue.running + queue.waiting, "search is", "searches are")} left to finish.`;
  } else if (!server.clock_is_set) {
    level = "bad";
    headline = "Not ready: the machine's clock is not set, so requests for Atto's networks are refused with 503.";
  } else if (!serving.length) {
    level = "bad";
    headline = "No device is up; one is being opened, and searches wait for it.";
  } else if (minute.requests.ok) {
    headline = `Serving ${perSecond(minute.works_per_second)} works a second on ${cards}${rate ? `, at ${hashRate(rate)}` : ""}.`;
  } else if (queue.running) {
    headline = `Searching on ${cards}${rate ? `, at ${hashRate(rate)}` : ""}; no work was answered in the last minute.`;
  } else {
    headline = `Ready and idle on ${cards}${rate ? `, at ${hashRate(rate)}` : ""}.`;
  }
  // A screen reader announces changes of this: of states, but not of numbers.
  const grave = findings.filter((finding) => finding.level !== "calm");
  const state = [server.phase, server.can_serve, server.clock_is_set, level, ...grave.map((finding) => finding.kind),
    ...devices.map((device) => device.name + device.state)].join();
  return { level, headline, findings, state, isUp: serving.length > 0 };
}

let announced = null;

function showSummary(status) {
  const { level, headline, findings, state, isUp } = judge(status);
  attribute($("summary"), "class", `card live ${level}`);
  set($("headline"), headline);
  each($("findings"), findings, () => element("li", {}, element("span", { "aria-hidden": "true" }), element("span")), (item, finding) => {
    attribute(item.children[0], "class", finding.level);
    set(item.children[0], MARKS[finding.level]);
    set(item.children[1], finding.text);
  });
  if (announced !== null && announced !== state)
    set($("announcement"), [headline, ...findings.filter((finding) => finding.level !== "calm").map((finding) => finding.text)].join(" "));
  announced = state;
  const { phase, can_serve, clock_is_set } = status.server;
  const isStarted = phase !== "starting";
  const words = !can_serve && isStarted ? ["bad", "not serving"] : !clock_is_set && isStarted ? ["bad", "clock not set"] : !isUp && isStarted ? ["bad", "no device up"]
    : { starting: ["calm", "starting"], serving: ["good", "serving"], leaving: ["warn", "stopping soon"], draining: ["warn", "stopping"] }[phase] ?? ["calm", phase];
  pill($("phase"), ...words);
  document.title = `${level === "good" || level === "calm" ? "" : "⚠ "}${status.server.host}: Atto work server`;
}
