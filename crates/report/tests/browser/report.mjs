// Opens pages of `stave report` in Chromium and looks at every part of them.
//
// node report.mjs SUBJECT BROWSER MODULES DIRECTORY: the pages are small.html, story.html, failed.html and large.html there, and
// graph.svg. What is looked at stands below by subject. Prints a line for each thing that was looked at; ends with 1 at the first that is not as it should be.
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [subject, browserPath, modules, directory] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const pictures = process.env.STAVE_REPORT_PICTURES;

// A machine that has much to do may take its time.
const PATIENCE = 240_000;
const address = (name) => pathToFileURL(join(directory, name)).href;
const options = {
  executablePath: browserPath,
  headless: true,
  timeout: PATIENCE,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
};

let browser;
let context;

/// Opens a page in a window of this size, and sees to it that nothing is asked for and nothing is said.
async function open(name, { width = 1280, height = 900, scheme = "light", hash = "" } = {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("console", (message) => complaints.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`error: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith("data:") && request.url() !== address(name) + hash && request.url() !== address(name)) complaints.push(`request: ${request.url()}`);
  });
  await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
  await page.setViewportSize({ width, height });
  await page.goto(address(name) + hash, { timeout: PATIENCE });
  page.done = async () => {
    assert.deepEqual(complaints, [], name);
    await page.close();
  };
  return page;
}

/// No rule of accessibility is broken in a part of a page. Contrasts take long, and are the same for many steps as for few.
async function accessible(page, what, part = "html", contrast = true) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async ([part, contrast]) => {
    const { violations } = await globalThis.axe.run(part, { resultTypes: ["violations"], rules: { "color-contrast": { enabled: contrast } } });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} ${node.any.map((check) => check.message).join("; ")}`).join(" | ")}`);
  }, [part, contrast]);
  assert.deepEqual(violations, [], what);
}

async function picture(page, name, fullPage = true) {
  if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage });
}

const isOpen = (page, id) => page.locator(`#${id} > details`).evaluate((details) => details.open);
const shown = (page) => page.locator("#step-list > li:not([hidden])").count();
const focused = (page) => page.evaluate(() => document.activeElement?.id || document.activeElement?.tagName.toLowerCase());

const subjects = {
  views: [
    [
      "a build of three steps has all parts, in order, and each is led to",
      async () => {
        const page = await open("small.html");
        const parts = await page.locator("main > section").evaluateAll((all) => all.map((part) => part.id));
        assert.deepEqual(parts, ["overview", "stages", "timeline", "steps", "layers", "source"].filter((part) => parts.includes(part)));
        assert.ok(parts.length >= 5, `${parts}`);
        for (const part of parts) {
          await page.locator(`nav a[href="#${part}"]`).click();
          assert.ok(await page.locator(`#${part} h2`).isVisible(), part);
        }
        assert.match(await page.locator("h1").innerText(), /Built/);
        assert.match(await page.locator("#overview").innerText(), /It took .* of .* steps ran/s);
        await page.done();
      },
    ],
    [
      "what a step wrote is text, whatever it looks like",
      async () => {
        const page = await open("small.html");
        assert.equal(await page.locator("script").count(), 1);
        assert.equal(await page.locator("#injected").count(), 0);
        await page.locator("#step-open").click();
        const log = page.locator("pre.log", { hasText: "injected" });
        assert.match(await log.innerText(), /<\/script><b id="injected">bold<\/b> & green/);
        assert.equal(await log.locator("b").count(), 0);
        await page.done();
      },
    ],
    [
      "nothing but the page's own script and style would be run",
      async () => {
        const page = await open("small.html");
        const policy = await page.locator('meta[http-equiv="Content-Security-Policy"]').getAttribute("content");
        assert.match(policy, /^default-src 'none';/);
        assert.doesNotMatch(policy, /unsafe|\*|http/);
        await page.close();
      },
    ],
    [
      "paper shows what was closed",
      async () => {
        const page = await open("small.html");
        await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = false)));
        const log = page.locator("pre.log").first();
        assert.equal(await log.evaluate((element) => element.checkVisibility({ contentVisibilityAuto: true })), false);
        await page.emulateMedia({ media: "print" });
        const heights = await page.locator("pre.log").evaluateAll((all) => all.map((element) => element.getBoundingClientRect().height));
        assert.ok(heights.length > 0 && heights.every((height) => height > 10), `${heights}`);
        assert.equal(await page.locator("nav").isVisible(), false);
        const table = page.locator("details.table table").first();
        assert.ok((await table.evaluate((element) => element.getBoundingClientRect().height)) > 20);
        const paper = await page.pdf({ format: "A4", path: pictures && join(pictures, "small.pdf") });
        assert.ok(paper.length > 10_000, `${paper.length}`);
        await page.done();
      },
    ],
    [
      "layers are a tree of sizes that is opened one by one, with what is shipped for nothing",
      async () => {
        const page = await open("story.html");
        assert.match(await page.locator("#layers").innerText(), /shipped for nothing/);
        const tree = page.locator("#layers .tree").first();
        const inside = tree.locator("code", { hasText: "libc.so" });
        assert.equal(await inside.isVisible(), false);
        await tree.locator("summary", { hasText: "usr/" }).focus();
        await page.keyboard.press("Enter");
        await tree.locator("summary", { hasText: "lib/" }).focus();
        await page.keyboard.press("Enter");
        assert.ok(await inside.isVisible());
        await page.locator("#layers details.layer > summary").nth(2).click();
        assert.ok(await page.locator("#layers details.layer").nth(2).locator("code", { hasText: "app" }).last().isVisible());
        await page.locator("#layers a.to-step").last().click();
        await page.waitForFunction(() => location.hash.startsWith("#step-"));
        await page.done();
      },
    ],
    [
      "a failed build leads to the step that failed, opened",
      async () => {
        const page = await open("failed.html");
        assert.match(await page.locator("h1").innerText(), /Failed/);
        const failed = page.locator('#step-list > li[data-state="failed"]');
        assert.equal(await failed.count(), 1);
        assert.equal(await failed.locator("details").evaluate((details) => details.open), true);
        assert.match(await failed.locator("pre.log").innerText(), /no such thing/);
        await page.locator(`#overview a[href="#${await failed.getAttribute("id")}"]`).first().click();
        await page.waitForFunction(() => location.hash.startsWith("#step-"));
        await page.done();
      },
    ],
    [
      "a graph of its own is sound XML, and shows its nodes",
      async () => {
        // Not in a page of ours: its policy would have none of the picture's style.
        const page = await context.newPage();
        const text = readFileSync(join(directory, "graph.svg"), "utf8");
        const nodes = await page.evaluate((text) => {
          const picture = new DOMParser().parseFromString(text, "image/svg+xml");
          if (picture.querySelector("parsererror")) return picture.documentElement.textContent;
          return picture.querySelectorAll("g.node").length;
        }, text);
        assert.ok(Number(nodes) >= 2, `${nodes}`);
        await page.close();
      },
    ],
    ["without a script everything is there, and can be opened", () => withoutScript()],
  ],
  access: [
    [
      "no rule of accessibility is broken: wide and narrow, light and dark, closed and opened",
      async () => {
        for (const name of ["story.html", "failed.html"]) {
          for (const scheme of ["light", "dark"]) {
            for (const width of [1280, 390]) {
              const page = await open(name, { width, scheme });
              if (width === 1280) await accessible(page, `${name} ${scheme} ${width}`);
              // Of two of the four, all opened.
              if ((scheme === "dark") !== (width === 390)) {
                await page.done();
                continue;
              }
              await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
              await accessible(page, `${name} ${scheme} ${width}, opened`);
              await picture(page, `${name.replace(".html", "")}-${scheme}-${width}-open`);
              await page.done();
            }
          }
        }
      },
    ],
    [
      "a phone shows all of it without a way to the side",
      async () => {
        for (const name of ["small.html", "story.html", "failed.html", "large.html"]) {
          const page = await open(name, { width: 390, height: 844 });
          const width = await page.evaluate(() => document.scrollingElement.scrollWidth);
          assert.ok(width <= 390, `${name}: ${width}`);
          await picture(page, `${name.replace(".html", "")}-phone`, name !== "large.html");
          await page.done();
        }
      },
    ],
    [
      "the dark page is dark",
      async () => {
        const brightness = async (scheme) => {
          const page = await open("small.html", { scheme });
          const colour = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
          await picture(page, `small-${scheme}`);
          await page.done();
          return colour.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
        };
        assert.ok((await brightness("dark")) < 150);
        assert.ok((await brightness("light")) > 700);
      },
    ],
    [
      "all of it works by keyboard",
      async () => {
        const page = await open("small.html");
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the report");
        await page.keyboard.press("Enter");
        assert.equal(await focused(page), "main");
        await page.keyboard.press("/");
        assert.equal(await focused(page), "step-search");
        await page.keyboard.type("no step has these words");
        await page.waitForFunction(() => document.querySelectorAll("#step-list > li:not([hidden])").length === 0);
        await page.keyboard.press("Escape");
        assert.ok((await shown(page)) > 2);
        const summary = page.locator("#step-list summary").last();
        await summary.focus();
        await page.keyboard.press("Enter");
        const last = await page.locator("#step-list > li").last().getAttribute("id");
        assert.equal(await isOpen(page, last), true);
        await page.keyboard.press("Enter");
        assert.equal(await isOpen(page, last), false);
        const bars = page.locator('svg.timeline[aria-labelledby="timeline-steps"] a');
        const count = await bars.count();
        assert.ok(count >= 2, `${count} bars`);
        await bars.first().focus();
        await page.keyboard.press("ArrowRight");
        const second = await bars.nth(1).getAttribute("href");
        assert.equal(await page.evaluate(() => document.activeElement.getAttribute("href")), second);
        await page.keyboard.press("End");
        await page.keyboard.press("Home");
        await page.keyboard.press("ArrowRight");
        await page.keyboard.press("Enter");
        await page.waitForFunction((hash) => location.hash === hash, second);
        await page.waitForFunction((id) => document.getElementById(id).querySelector("details").open, second.slice(1));
        await bars.nth(1).focus();
        await page.keyboard.press("Escape");
        assert.equal(await focused(page), "body");
        const missing = new Set(["overview", "stages", "timeline", "steps", "source"]);
        for (let at = 0; at < 200 && missing.size > 0; at += 1) {
          await page.keyboard.press("Tab");
          missing.delete(await page.evaluate(() => document.activeElement.closest("section")?.id));
        }
        assert.deepEqual([...missing], [], "the tab key never comes there");
        await page.done();
      },
    ],
    [
      "what has the focus is seen",
      async () => {
        const page = await open("small.html");
        for (const selector of ["nav a", "#step-list summary", "#step-search", ".graph a", ".timeline a"]) {
          const one = page.locator(selector).first();
          await page.keyboard.press("Tab");
          await one.focus();
          const seen = await one.evaluate((element) => {
            const rect = element.querySelector("rect");
            const width = rect ? getComputedStyle(rect).strokeWidth : getComputedStyle(element).outlineWidth;
            return parseFloat(width);
          });
          assert.ok(seen >= 2, `${selector}: ${seen}`);
        }
        await page.done();
      },
    ],
  ],
  large: [
    [
      "two thousand steps open, are searched, chosen, put in order and looked at",
      async () => {
        const page = await open("large.html");
        console.log(`  large.html has ${statSync(join(directory, "large.html")).size} bytes`);
        assert.equal(await shown(page), 2000);
        // A list item that is hidden has all that follow counted anew.
        assert.equal(await page.locator("#step-2").evaluate((item) => getComputedStyle(item).display), "block");
        assert.match(await page.locator("#step-count").innerText(), /2,000 steps/);
        await page.locator("#step-search").fill("needle-in-one-log");
        await page.waitForFunction(() => document.querySelectorAll("#step-list > li:not([hidden])").length === 1);
        assert.match(await page.locator("#step-count").innerText(), /1 of 2,000 steps/);
        assert.ok(await page.locator("#step-list > li:not([hidden]) pre.log").isVisible());
        assert.ok(await page.evaluate(() => CSS.highlights.get("found").size > 0));
        await accessible(page, "large.html, one step chosen", "#steps", false);
        await page.locator("#step-search").press("Escape");
        await page.locator("#step-state").selectOption("critical");
        const critical = await shown(page);
        assert.ok(critical > 1 && critical < 2000, `${critical}`);
        await page.locator("#step-state").selectOption("known");
        assert.ok((await shown(page)) > 100);
        await page.locator("#step-state").selectOption("");
        const stage = await page.locator("#step-stage option").nth(3).getAttribute("value");
        await page.locator("#step-stage").selectOption(stage);
        assert.ok((await shown(page)) < 100);
        await page.locator("#step-stage").selectOption("");
        await page.locator("#step-order").selectOption("took");
        const times = await page.locator("#step-list > li").evaluateAll((all) => all.slice(0, 50).map((item) => Number(item.dataset.took)));
        assert.deepEqual(times, [...times].sort((one, other) => other - one));
        await page.locator("#step-order").selectOption("order");
        assert.equal(await page.locator("#step-list > li").first().getAttribute("id"), "step-1");
        // However long a part is, its heading is what is led to.
        for (const part of ["overview", "stages", "timeline", "steps", "source"]) {
          await page.locator(`nav a[href="#${part}"]`).click();
          await page.waitForFunction((part) => {
            const { top, bottom } = document.querySelector(`#${part} h2`).getBoundingClientRect();
            return bottom > 0 && top < innerHeight;
          }, part, { timeout: 60_000 });
        }
        assert.equal(await page.locator("#timeline details.table").evaluate((details) => details.open), false);
        await page.locator("#timeline details.table > summary").click();
        assert.ok((await page.locator("#timeline tbody tr").count()) > 1000);
        await page.locator("#timeline").scrollIntoViewIfNeeded();
        await picture(page, "large", false);
        await page.done();
      },
    ],
    [
      "a link to a step opens it",
      async () => {
        const page = await open("large.html", { hash: "#step-1500" });
        await page.waitForFunction(() => document.querySelector("#step-1500 > details").open);
        const top = await page.locator("#step-1500").evaluate((item) => item.getBoundingClientRect().top);
        assert.ok(top >= 0 && top < 900, `${top}`);
        await page.done();
      },
    ],
  ],
};

/// Without a script everything is there, and can be opened.
async function withoutScript() {
  const plain = await browser.newContext({ javaScriptEnabled: false });
  const page = await plain.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(address("small.html"), { timeout: PATIENCE });
  assert.equal(await page.locator("#step-controls").isVisible(), false);
  const first = page.locator("#step-list > li", { has: page.locator("pre.log") }).first();
  assert.equal(await first.locator("pre.log").isVisible(), false);
  await first.locator("summary").click();
  assert.ok(await first.locator("pre.log").isVisible());
  await plain.close();
}

try {
  assert.ok(subjects[subject], `no subject ${subject}`);
  browser = await chromium.launch(options);
  context = await browser.newContext();
  for (const [name, look] of subjects[subject]) {
    const start = performance.now();
    await look();
    console.log(`ok: ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser?.close().catch(() => {});
}
