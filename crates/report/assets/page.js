"use strict";
// What makes the page more convenient: everything can be read without it.
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  for (const hidden of all(".with-script[hidden]")) hidden.hidden = false;

  // A link to a step opens it.
  const openTarget = () => {
    const target = location.hash.length > 1 && byId(location.hash.slice(1));
    if (!target) return;
    if (target.hidden) showAll();
    // Of a part the table stays closed.
    const isPart = target.matches("section");
    const details = !isPart && target.querySelector(":scope > details");
    if (details) {
      details.open = true;
      details.querySelector("summary").focus({ preventScroll: true });
    }
    // The middle of a line is what is looked for; that of a part is a long way below its heading.
    const block = details || isPart ? "start" : "center";
    target.scrollIntoView({ block });
    // Steps that are rendered on the way may be of another height than was assumed of them.
    requestAnimationFrame(() => requestAnimationFrame(() => target.scrollIntoView({ block })));
  };

  // Paper has no clicks: everything is opened, and closed again afterwards.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });

  // Steps: which are shown, and in which order.
  const list = byId("step-list");
  let showAll = () => {};
  if (list) {
    const controls = byId("step-controls");
    const [search, state, stage, order] = ["step-search", "step-state", "step-stage", "step-order"].map(byId);
    const count = byId("step-count");
    const steps = [...list.children].map((item) => ({ item, text: null }));
    const textOf = (step) => (step.text ??= step.item.textContent.toLowerCase());
    controls.hidden = false;

    const suits = (step, words) => {
      const { item } = step;
      if (state.value === "critical" ? !item.classList.contains("critical") : state.value && item.dataset.state !== state.value) return false;
      if (stage?.value && item.dataset.stage !== stage.value) return false;
      return !words || textOf(step).includes(words);
    };

    // What was looked for is marked without changing the document.
    const mark = (words) => {
      if (!("highlights" in CSS)) return;
      CSS.highlights.delete("found");
      if (!words) return;
      const ranges = [];
      for (const { item } of steps) {
        if (item.hidden) continue;
        const walker = document.createTreeWalker(item, NodeFilter.SHOW_TEXT);
        while (walker.nextNode() && ranges.length < 2000) {
          const node = walker.currentNode;
          const text = node.data.toLowerCase();
          if (text.length !== node.data.length) continue;
          for (let at = text.indexOf(words); at >= 0 && ranges.length < 2000; at = text.indexOf(words, at + words.length)) {
            const range = new Range();
            range.setStart(node, at);
            range.setEnd(node, at + words.length);
            ranges.push(range);
          }
        }
      }
      CSS.highlights.set("found", new Highlight(...ranges));
    };

    const filter = () => {
      const words = search.value.trim().toLowerCase();
      let shown = 0;
      for (const step of steps) {
        const yes = suits(step, words);
        step.item.hidden = !yes;
        if (!yes) continue;
        shown += 1;
        // Where only the log has the words, they are to be seen.
        if (words.length > 1 && shown <= 50) {
          const details = step.item.firstElementChild;
          if (!details.open && !details.firstElementChild.textContent.toLowerCase().includes(words)) details.open = true;
        }
      }
      const number = (value) => value.toLocaleString("en");
      count.textContent = shown === steps.length ? `${number(shown)} steps` : `${number(shown)} of ${number(steps.length)} steps`;
      mark(words);
    };
    showAll = () => {
      search.value = state.value = "";
      if (stage) stage.value = "";
      filter();
    };

    let waiting = 0;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, steps.length > 200 ? 150 : 0);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") showAll();
    });
    for (const choice of [state, stage]) choice?.addEventListener("change", filter);
    order.addEventListener("change", () => {
      const key = order.value;
      const up = key === "order" || key === "start";
      const none = up ? Infinity : -1;
      const value = ({ item }) => Number(item.dataset[key] ?? none);
      const sorted = [...steps].sort((one, other) => (up ? value(one) - value(other) : value(other) - value(one)) || one.item.dataset.order - other.item.dataset.order);
      list.append(...sorted.map(({ item }) => item));
    });
    const openAll = (open) => {
      for (const { item } of steps) if (!item.hidden) item.firstElementChild.open = open;
    };
    byId("step-open").addEventListener("click", () => openAll(true));
    byId("step-close").addEventListener("click", () => openAll(false));
    controls.addEventListener("submit", (event) => event.preventDefault());
    addEventListener("keydown", (event) => {
      const isTyping = event.target.closest?.("input, select, textarea");
      if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        search.focus();
      }
    });
  }

  // Bars of the timeline are one stop of the tab key; arrows go from one to the next.
  for (const chart of all(".timeline")) {
    const bars = all("a", chart);
    chart.addEventListener("keydown", (event) => {
      const at = bars.indexOf(event.target.closest("a"));
      if (at < 0) return;
      const last = bars.length - 1;
      const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") bars[at].blur();
      if (to === undefined) return;
      event.preventDefault();
      const next = bars[Math.min(Math.max(to, 0), last)];
      bars[at].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }

  addEventListener("hashchange", openTarget);
  openTarget();
})();
