// Looks at the status page in a headless Chromium, as an operator does.
//
//     node look.mjs what-happens URL     a server of tests/status_page.rs, which does what this script asks for
//     node look.mjs for-everybody URL    any server that has answered works
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
    await look.context.route("**/*", (route) => {
      const asked = new URL(route.request().url());
      if (asked.origin === new URL(url).origin) return route.continue();
      look.wrong.push(`request to ${asked}`);
      return route.abort();
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

  nothingWrong() {
    assert.deepEqual(this.wrong, []);
  }

  async close() {
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
  await page.route("**/status.json", (route) => route.abort());
  await look.sees("#stale", /The server does not answer since \d\d:\d\d:\d\d/);
  await page.unroute("**/status.json");
  await page.locator("#stale").waitFor({ state: "hidden" });

  await step("stop");
  await look.sees("#stale", /The server does not answer since/);
  assert.match(await look.text("#devices"), /card/, "what was said last stays");
  assert.equal(await page.evaluate(() => window.loadedOnce), true, "it was never loaded anew");
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
      // Through the debugger's door, which the page's policy does not guard.
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => axe.run());
      assert.deepEqual(violations.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map((node) => node.html).join(" ")}`), []);
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

  // A page that nobody sees does not ask.
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

async function screenshot(url, file, width = "1200", colorScheme = "light") {
  const look = await Look.open(url, { viewport: { width: Number(width), height: 900 }, colorScheme, deviceScaleFactor: 1 });
  await look.sees("#headline", /\d of \d device/);
  await look.page.waitForTimeout(1000);
  await look.page.screenshot({ path: file, fullPage: true });
  look.nothingWrong();
  await look.close();
}

const [what, url, ...rest] = process.argv.slice(2);
const cases = { "what-happens": whatHappens, "for-everybody": forEverybody, screenshot };
try {
  await cases[what](url, ...rest);
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
