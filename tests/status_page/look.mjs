// Looks at the status page in a headless Chromium, as an operator does.
//
//     node look.mjs what-happens URL     a server of tests/it/status_page.rs, which does what this script asks for
//     node look.mjs for-everybody URL    any server that has answered works
//     node look.mjs answers URL          any server, of whose answers this makes others
//     node look.mjs screenshot URL FILE [WIDTH [light|dark]]
//
// URL is that of the management port. Where something should be done to the server, a line `step WHAT` is written, and a
// line awaited. Exits with 0 if everything is as it should be.

import assert from "node:assert/strict";
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

// How long anything may take that should take seconds.
const SOON = 60_000;

const FLAGS = [
  "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage",
];

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const folder of process.env.PATH.split(delimiter))
    for (const name of ["chromium", "chromium-browser", "google-chrome"])
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch { /* not here */ }
  throw new Error("no Chromium: run `tests/run`, which installs it, or name one in CHROMIUM");
}

// A page whose requests to other origins fail, and which remembers everything that should not be.
class Look {
  static async open(url, options = {}) {
    const look = new Look();
    look.url = url;
    look.wrong = [];
    look.asked = 0;
    look.folder = mkdtempSync(join(tmpdir(), "status-page-"));
    // The sandbox of Chromium needs a user that is not root.
    const root = process.getuid() === 0 ? ["--no-sandbox"] : [];
    look.context = await chromium.launchPersistentContext(look.folder, {
      executablePath: executable(), headless: true, args: [...FLAGS, ...root], viewport: { width: 1200, height: 900 }, ...options,
    });
    look.context.setDefaultTimeout(SOON);
    look.answer = (route) => route.continue();
    // The only handler, for as long as the page lasts. To remove one gives the requests that it is handling to the next one,
    // while it goes on with them, and Playwright fails on the second answer.
    await look.context.route("**/*", (route) => {
      const asked = new URL(route.request().url());
      if (asked.origin !== new URL(url).origin) {
        look.wrong.push(`request to ${asked}`);
        return route.abort();
      }
      return asked.pathname === "/status.json" ? look.answer(route) : route.continue();
    });
    look.page = look.context.pages()[0] ?? await look.context.newPage();
    look.page.on("request", (request) => { if (request.url().endsWith("/status.json")) look.asked += 1; });
    look.page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) look.wrong.push(`console: ${message.text()}`);
    });
    look.page.on("pageerror", (error) => look.wrong.push(`script: ${error}`));
    await look.page.goto(url);
    return look;
  }

  text(selector) {
    return this.page.locator(selector).innerText();
  }

  // Waits until the text of an element matches.
  async sees(selector, pattern) {
    try {
      await this.page.waitForFunction(([selector, source]) => new RegExp(source).test(document.querySelector(selector)?.innerText ?? ""),
        [selector, pattern.source], { timeout: SOON });
    } catch {
      throw new Error(`${selector} does not come to match ${pattern}: ${JSON.stringify(await this.page.locator(selector).allInnerTexts())}`);
    }
  }

  // From here on requests for the data get the server's answers,
  asIs() {
    return this.answerBy((route) => route.continue());
  }

  // what `change` makes of these,
  answers(change) {
    return this.answerBy(async (route) => {
      const response = await route.fetch();
      const status = await response.json();
      change(status);
      await route.fulfill({ response, json: status });
    });
  }

  // or none.
  noAnswers() {
    return this.answerBy((route) => route.abort());
  }

  // The page asks at once, since this would else wait most of its time for it.
  async answerBy(answer) {
    this.answer = answer;
    await this.page.evaluate(() => { update(); });
  }

  async axe(name) {
    // Through the debugger's door, which the page's policy does not guard.
    await this.page.evaluate(AXE);
    const { violations } = await this.page.evaluate(() => axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map((node) => node.html).join(" ")}`), []);
  }

  nothingWrong() {
    assert.deepEqual(this.wrong, []);
  }

  async close() {
    await this.context.unrouteAll({ behavior: "ignoreErrors" });
    await this.context.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function step(what) {
  console.log(`step ${what}`);
  const { value } = await answers.next();
  assert.equal(value, "done");
}

// Two devices: "card", which fails and is healed as told, and "cpu".
async function whatHappens(url) {
  const look = await Look.open(url);
  const { page } = look;
  await page.evaluate(() => { window.loadedOnce = true; });

  await look.sees("#phase", /serving/);
  await look.sees("#headline", /^Ready and idle on 2 of 2 devices/);
  await look.sees("#tiles", /\b0 since the start/);
  assert.match(await look.text("#devices"), /card[\s\S]*up[\s\S]*cpu[\s\S]*up/);

  await step("load");
  await look.sees("#tiles", /\b20 since the start/);
  await look.sees("#headline", /^Serving .* works a second on 2 of 2 devices/);
  // When the interval has ended.
  await page.waitForFunction(() => /answered last .*highest [1-9]/.test(document.querySelector("#charts title").textContent), null, { timeout: SOON });
  // A line needs two of them.
  await page.waitForFunction(() => /^M.*L/.test(document.querySelector("#charts .series").getAttribute("d")), null, { timeout: SOON });
  await page.locator("#charts details summary").first().click();
  await look.sees("#charts .scroll table", /answered[\s\S]*\d\d:\d\d:\d\d/);

  await step("fail");
  await look.sees("#devices tr:first-child", /✕\s*down/);
  await look.sees("#findings", /card is down since \d\d:\d\d:\d\d .*cpu serves meanwhile/);
  assert.match(await look.text("#findings"), /fell off the <b>bus<\/b>/, "text of a driver is text");
  assert.equal(await page.locator("#findings b, #incidents b, #devices b").count(), 0);
  assert.match(await look.text("#headline"), /on 1 of 2 devices/);
  assert.match(await look.text("#incidents"), /card failed: .*fell off the <b>bus<\/b>/);
  assert.match(await page.locator("#announcement").textContent(), /card is down/);
  assert.match(await page.title(), /^⚠/);

  await step("heal");
  await look.sees("#devices tr:first-child", /●\s*up/);
  await look.sees("#headline", /2 of 2 devices/);
  assert.doesNotMatch(await look.text("#findings"), /card is down/);
  await look.sees("#incidents", /card serves again/);
  look.nothingWrong();

  // From here on the browser itself says that something does not answer.
  await look.noAnswers();
  await look.sees("#stale", /The server does not answer since \d\d:\d\d:\d\d/);
  await look.asIs();
  await page.locator("#stale").waitFor({ state: "hidden" });

  await step("stop");
  await look.sees("#stale", /The server does not answer since/);
  assert.match(await look.text("#devices"), /card/, "what was said last stays");
  assert.equal(await page.evaluate(() => window.loadedOnce), true, "it was never reloaded");
  assert.deepEqual(look.wrong.filter((wrong) => !wrong.includes("net::ERR_")), []);
  await look.close();
}

async function forEverybody(url) {
  const look = await Look.open(url);
  const { page } = look;
  await look.sees("#headline", /\d of \d device/);
  assert.doesNotMatch(await page.locator("body").innerText(), /NaN|undefined|null|Infinity/);

  const backgrounds = [];
  for (const colorScheme of ["light", "dark"])
    for (const width of [1200, 320]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.setViewportSize({ width, height: 800 });
      const name = `${colorScheme}, ${width} wide`;
      await page.locator("#configuration").evaluate((details) => { details.open = true; });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name}: ${wide} too wide`);
      await look.axe(name);
      backgrounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await page.locator("#configuration").evaluate((details) => { details.open = false; });
    }
  assert.equal(new Set(backgrounds).size, 2, backgrounds);
  assert.match(await page.locator(".bar rect").first().evaluate((bar) => getComputedStyle(bar).transitionDuration), /^0s$/);

  // By keyboard alone.
  await page.setViewportSize({ width: 1200, height: 800 });
  await page.keyboard.press("Tab");
  assert.match(await page.evaluate(() => document.activeElement.textContent), /^Skip/);
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "devices-title");
  const isThere = () => page.evaluate(() => document.activeElement.matches("#configuration > summary"));
  for (let presses = 0; !await isThere(); presses += 1) {
    assert.ok(presses < 50, "the configuration cannot be reached by keyboard");
    await page.keyboard.press("Tab");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none", await page.evaluate(() => `no focus to be seen on ${document.activeElement.outerHTML}`));
  }
  await page.keyboard.press("Enter");
  assert.match(await look.text("#settings"), /ATTO_WORK_BACKEND\s+cpu\s+set/);

  // A hidden page sends no requests.
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await page.waitForTimeout(1000);
  const before = look.asked;
  await page.waitForTimeout(5000);
  assert.equal(look.asked, before);
  await hide(false);
  await page.waitForRequest("**/status.json");
  look.nothingWrong();
  await look.close();

  const without = await Look.open(url, { javaScriptEnabled: false });
  assert.match(await without.text("noscript"), /needs JavaScript/);
  assert.equal(await without.page.locator("noscript a").first().getAttribute("href"), "status.json");
  without.nothingWrong();
  await without.close();
}

// A device like the first one.
function another(status, name, change) {
  status.devices.push({ ...status.devices[0], name, ...change });
}

// Everything that may be wrong at once.
function troubled(status) {
  another(status, "lost", { state: "down", since: status.at + 60_000, last_error: "fell off the bus", faults: 3 });
  another(status, "hung", { state: "unresponsive", since: status.at - 60_000, last_error: "no answer", faults: 1 });
  another(status, "spare", { state: "standby" });
  another(status, "odd", { state: "molten" });
  status.history.last_minute.requests.queue_full = 5;
  status.history.last_minute.requests.cancelled = 1;
  Object.assign(status.queue, { running: 4, waiting: 3, temperature: "hot" });
  status.missing_cards = { is_expected: true, reasons: ["no adapter matches \"x\"; there is none"] };
  for (const what of ["fault", "not_opened", "back", "fallen_back_to", "molten"])
    status.incidents.push({ at: status.at, device: "lost", what, text: "why", times: what === "not_opened" ? 200 : 1 });
}

async function answersAreUnderstood(url) {
  const look = await Look.open(url, { timezoneId: "Asia/Kolkata" });
  const { page } = look;
  await page.evaluate(() => { window.loadedOnce = true; });
  await look.sees("#headline", /^Ready and idle on 1 of 1 device/);
  await look.sees("#updated", /times are UTC\+05:30/);
  assert.equal(await look.text("#findings"), "");
  const { capacity, turns } = await page.evaluate(async () => (await (await fetch("status.json")).json()).queue);
  const room = (number) => new RegExp(`room for ${number.toLocaleString("en-GB")} more`);
  await look.sees("#tiles", room(capacity + turns));

  // Room is what is left.
  await look.answers((status) => Object.assign(status.queue, { running: 3, waiting: 10, temperature: "hot" }));
  await look.sees("#tiles", room(capacity + turns - 13));

  // A card that should be there, and none at all.
  await look.answers((status) => { status.missing_cards = { is_expected: true, reasons: ["the driver is old", "it is so"] }; });
  await look.sees("#findings", /^▲\s*No card is used, cpu serves: the driver is old; it is so\.$/);
  await look.sees("#announcement", /No card is used/);
  assert.match(await page.title(), /^⚠/);
  await look.answers((status) => { status.missing_cards = { is_expected: false, reasons: ["there is no sign of one"] }; });
  await look.sees("#findings", /^○\s*No card is used, cpu serves: there is no sign of one\.$/);
  assert.doesNotMatch(await page.title(), /⚠/);

  // Where the time goes.
  const times = (wait, solve, more = () => {}) => look.answers((status) => {
    const all = (p50) => ({ p50, p95: p50, p99: p50 });
    Object.assign(status.history.last_minute, { wait: all(wait), solve: all(solve), total: all(wait + solve) });
    status.expected = [{ network: "LIVE", threshold: "1", mean_seconds: 5, p99_seconds: 23 }];
    more(status);
  });
  await times(9, 10);
  await look.sees("#findings", /take 19 s \(median\): they wait 9 s for a device, and are searched for 10 s .* LIVE needs 5 s/);
  await times(0.1, 10, (status) => { status.queue.running = 3; status.expected = []; });
  await look.sees("#findings", /take 10 s \(median\), nearly all of it searching\. 3 searches share the devices, so each takes longer than alone\.$/);
  await times(10, 0.1);
  await look.sees("#findings", /nearly all of it waiting for a device/);

  // No device, and no sense in waiting for a measurement.
  await look.answers((status) => { status.devices[0].state = "down"; status.expected = []; });
  await look.sees("#headline", /^No device is up; one is being opened, and searches wait for it\.$/);
  await look.sees("#phase", /no device up/);
  await look.sees("#expected-note", /while no device is up/);
  await look.answers((status) => { status.expected = []; });
  await look.sees("#expected-note", /until a device has been measured/);

  await look.answers((status) => {
    status.server.clock_is_set = false;
    status.history.last_minute.requests.clock_wrong = 2;
  });
  await look.sees("#headline", /^Not ready: the machine's clock is not set/);
  await look.sees("#phase", /clock not set/);
  await look.sees("#findings", /2 requests were refused in the last minute because the machine's clock is not set/);
  await look.answers((status) => { status.server.phase = "leaving"; });
  await look.sees("#headline", /^Stopping soon: not ready any more, requests are still served\.$/);

  // An incident happened at a time in a zone, and an outage did not begin in the future.
  await look.answers(troubled);
  await look.sees("#incidents", /lost could not be opened 200 times, the last time: why/);
  assert.match(await page.locator("#incidents time").first().getAttribute("title"), /UTC\+05:30$/);
  assert.match(await page.locator("#incidents time").first().getAttribute("datetime"), /Z$/);
  await look.sees("#findings", /lost is down since [^(]*\(0 ms\)/);
  await look.sees("#devices", /odd[\s\S]*molten/);
  assert.equal(await page.locator("#stale").isHidden(), true);

  // Screen readers do not announce every number.
  await page.evaluate(() => {
    window.told = 0;
    new MutationObserver(() => { window.told += 1; }).observe(document.getElementById("announcement"), { childList: true, characterData: true, subtree: true });
  });
  let polls = 0;
  await look.answers((status) => {
    troubled(status);
    polls += 1;
    Object.assign(status.queue, { waiting: 1 + polls, temperature: polls % 2 ? "full" : "hot" });
  });
  while (polls < 4) await page.waitForTimeout(200);
  assert.equal(await page.evaluate(() => window.told), 0);

  // A finger on a chart reads it.
  await look.answers((status) => {
    const { intervals } = status.history;
    intervals.ends = Array.from({ length: 120 }, (_, place) => status.at - 5000 * (120 - place));
    for (const column of Object.values(intervals.requests)) column.splice(0, column.length, ...Array(120).fill(0));
  });
  await page.waitForFunction(() => charts[0].ends.length === 120);
  const plot = page.locator(".chart .plot svg").first();
  await plot.dispatchEvent("pointerdown", { pointerType: "touch", clientX: (await plot.boundingBox()).x + 50, bubbles: true });
  await plot.dispatchEvent("pointerleave", { pointerType: "touch" });
  await look.sees(".chart .at", /^at \d\d:\d\d:\d\d$/);
  assert.equal(await plot.evaluate((svg) => getComputedStyle(svg).touchAction), "pan-y");

  // An answer that the page does not understand is reported, and the page recovers from it.
  await look.answers((status) => { delete status.queue; });
  await look.sees("#stale", /does not understand the server's answer: load it again/);
  await look.answers(() => {});
  await page.locator("#stale").waitFor({ state: "hidden" });

  // A page that is shown again marks old data as old.
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await page.waitForTimeout(7000);
  let answer;
  const asked = new Promise((resolve) => { answer = resolve; });
  look.answer = async (route) => { await asked; await route.continue(); };
  await hide(false);
  assert.match(await look.text("#stale"), /What is shown below is of \d\d:\d\d:\d\d/);
  answer();
  await page.locator("#stale").waitFor({ state: "hidden" });

  // Another version of the server has another page: it is loaded, once.
  assert.equal(await page.evaluate(() => window.loadedOnce), true);
  await look.answers((status) => { status.server.version = "99.0.0"; });
  await page.waitForFunction(() => window.loadedOnce === undefined, null, { timeout: SOON });
  await look.sees("#facts", /99\.0\.0/);
  await page.evaluate(() => { window.loadedOnce = true; });
  polls = 0;
  await look.answers((status) => { polls += 1; status.server.version = polls % 2 ? "98.0.0" : "99.0.0"; });
  await page.waitForFunction(() => window.loadedOnce === undefined, null, { timeout: SOON });
  await page.evaluate(() => { window.loadedOnce = true; });
  polls = 0;
  while (polls < 4) await page.waitForTimeout(200);
  assert.equal(await page.evaluate(() => window.loadedOnce), true, "it reloads again and again");
  look.nothingWrong();

  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await look.answers(troubled);
    await look.sees("#devices", /molten/);
    await look.axe(`${colorScheme}, in trouble`);
    await look.noAnswers();
    await look.sees("#stale", /does not answer/);
    await look.axe(`${colorScheme}, without an answer`);
  }
  await look.close();
}

async function screenshot(url, file, width = "1200", colorScheme = "light") {
  const look = await Look.open(url, { viewport: { width: Number(width), height: 900 }, colorScheme, deviceScaleFactor: 1 });
  await look.sees("#headline", /\d of \d device/);
  await look.page.waitForTimeout(1000);
  await look.page.screenshot({ path: file, fullPage: true });
  look.nothingWrong();
  await look.close();
}

const [what, url, ...rest] = process.argv.slice(2);
const cases = { "what-happens": whatHappens, answers: answersAreUnderstood, "for-everybody": forEverybody, screenshot };
try {
  await cases[what](url, ...rest);
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
