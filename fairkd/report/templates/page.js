// Draws the figures in the colours of the page, and again when these change.
(() => {
  "use strict";
  const PRINT_WIDTH = 670; // A4 less its margins, in CSS pixels
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const ink = { light: "#1d2126", dark: "#e4e6e8" };
  const rule = { light: "#e3e3de", dark: "#30363c" };
  const clear = "rgba(0,0,0,0)";
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["sendDataToCloud", "lasso2d", "select2d"],
  };
  let printing = false;

  // Neutral colours (grey text, black markers, white gaps) turn over on dark paper; hues stay what they mean.
  const canvas = document.createElement("canvas").getContext("2d");
  function turned(color) {
    canvas.fillStyle = "#010203";
    canvas.fillStyle = color;
    const known = canvas.fillStyle;
    if (known === "#010203") return color;
    const parts = known.startsWith("#")
      ? [1, 3, 5].map((at) => parseInt(known.slice(at, at + 2), 16)).concat(1)
      : known.match(/[\d.]+/g).map(Number);
    const [red, green, blue, alpha] = parts;
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > 24) return color;
    const level = Math.round(230 - ((red + green + blue) / 3) * (208 / 255));
    return `rgba(${level},${level},${level},${alpha})`;
  }
  function turn(part) {
    for (const [key, value] of Object.entries(part ?? {})) {
      // Text on coloured ground keeps the contrast that was chosen for it.
      if (key === "textfont" || key === "insidetextfont" || key === "colorscale") continue;
      if (typeof value === "string" && /color$/.test(key)) part[key] = turned(value);
      else if (typeof value === "object") turn(value);
    }
  }

  function themed(figure) {
    const { data, layout } = structuredClone(figure);
    const scheme = dark.matches && !printing ? "dark" : "light";
    const template = (layout.template ??= {});
    const base = (template.layout ??= {});
    if (scheme === "dark") {
      for (const trace of data) turn(trace);
      turn(layout);
    }
    layout.paper_bgcolor = layout.plot_bgcolor = clear;
    layout.font = { ...layout.font, color: ink[scheme] };
    for (const axis of ["xaxis", "yaxis"]) {
      base[axis] = { ...base[axis], automargin: true, gridcolor: rule[scheme], zerolinecolor: rule[scheme] };
    }
    delete layout.width;
    if (printing) layout.width = PRINT_WIDTH;
    if (narrow.matches && typeof layout.title === "object") {
      layout.title = { ...layout.title, font: { ...layout.title.font, size: 14 } };
    }
    const legend = { ...base.legend, ...layout.legend };
    if (narrow.matches && legend.orientation !== "h") {
      layout.legend = { ...layout.legend, orientation: "h", x: 0, xanchor: "left", y: -0.15, yanchor: "top" };
    }
    return [data, layout, config];
  }

  const figures = Array.from(document.querySelectorAll("figure[data-figure]"), (element) => ({
    element,
    target: element.querySelector(".plot"),
    figure: JSON.parse(element.querySelector("script").textContent),
  }));

  function draw({ element, target, figure }) {
    try {
      Plotly.react(target, ...themed(figure));
      element.dataset.figure = "drawn";
    } catch (error) {
      element.dataset.figure = "failed";
      target.classList.add("undrawn");
      target.textContent = "This figure could not be drawn in this browser.";
      console.error(error);
    }
  }
  const drawAll = () => figures.forEach(draw);

  // One figure at a time, so that the page can be read and scrolled meanwhile.
  (function next(index) {
    if (index < figures.length) {
      draw(figures[index]);
      setTimeout(next, 0, index + 1);
    }
  })(0);

  // The contents list shows where the reader is: the last heading that has passed the top of the window.
  const links = Array.from(document.querySelectorAll("nav a"));
  const headings = links.map((link) => document.getElementById(link.hash.slice(1)));
  function mark() {
    const passed = headings.filter((heading) => heading && heading.getBoundingClientRect().top < 120).length;
    links.forEach((link, index) =>
      index === Math.max(0, passed - 1) ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"),
    );
  }
  addEventListener("scroll", mark, { passive: true });
  mark();

  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  for (const [event, state] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => {
      printing = state;
      drawAll();
    });
  }
})();
