// Starts an image of the work server by Atto's published test containers, asks it for works, and stops it.
//
//     node mock.mjs IMAGE
//
// Exits 0 once tests/client/works.mjs has found every work right. Else says why and exits 1.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { AttoWorkerMockAsyncBuilder } from "@attocash/commons-test";

// The test containers themselves give up after a minute.
const SECONDS = 120;

const [image] = process.argv.slice(2);
if (!image) {
  fail("usage: node mock.mjs IMAGE");
}
setTimeout(() => fail(`not done within ${SECONDS} s`), SECONDS * 1000);

try {
  const mock = await new AttoWorkerMockAsyncBuilder().image(image).pullImage(false).logOutput(true).build();
  const began = performance.now();
  await mock.start();
  console.log(`counts as started after ${((performance.now() - began) / 1000).toFixed(1)} s`);
  const works = fileURLToPath(new URL("../client/works.mjs", import.meta.url));
  const [code] = await once(spawn("node", [works, mock.baseUrl, "8"], { stdio: "inherit" }), "exit");
  await mock.stop();
  if (code !== 0) {
    fail("a work is wrong or missing");
  }
} catch (error) {
  fail(error);
}
process.exit(0);

function fail(reason) {
  console.error(`mock.mjs: ${reason?.message ?? reason}`);
  process.exit(1);
}
