"use strict";
(() => {
  const curves = JSON.parse(document.getElementById("training-times").textContent);
  const input = (name) => document.getElementById(name);

  /* Time of a run with this share of the baseline's fresh examples, in units of the baseline's that never waits. */
  const time = (share, e, ratio) => share * Math.max(ratio, e);

  const timesOf = (curve, ratio) =>
    curve.shares.map(([e, share]) => ({ e, time: time(share, e, ratio), busy: share * e }));

  const best = (times) => times.reduce((a, b) => (b.time < a.time ? b : a));

  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const drawn = (curve, ratio, chosen) => {
    const times = timesOf(curve, ratio);
    const winner = best(times);
    const longest = Math.max(...times.map((one) => one.time));
    const height = 22;
    const figure = document.createElement("div");
    const heading = document.createElement("h4");
    heading.textContent = curve.name;
    const words = times.map((one) => `e = ${one.e}: ${one.time.toFixed(3)}`).join(", ");
    const picture = svg("svg", { viewBox: `0 0 320 ${times.length * height}`, role: "img", "aria-label": words });
    times.forEach((one, row) => {
      const y = row * height;
      const scale = 200 / longest;
      picture.append(svg("text", { x: 0, y: y + 15 }, `e = ${one.e}${one.e === chosen ? " (yours)" : ""}`));
      picture.append(svg("rect", { class: "idle", x: 76, y: y + 3, width: one.time * scale, height: height - 6 }));
      picture.append(svg("rect", { class: "work", x: 76, y: y + 3, width: one.busy * scale, height: height - 6 }));
      if (one === winner)
        picture.append(
          svg("rect", { class: "best", x: 76, y: y + 3, width: one.time * scale, height: height - 6, fill: "none" }));
      const value = svg("text", { x: 80 + one.time * scale, y: y + 15 }, one.time.toFixed(2));
      value.dataset.e = one.e;
      value.dataset.time = one.time;
      picture.append(value);
    });
    figure.dataset.best = winner.e;
    figure.append(heading, picture);
    return figure;
  };

  const show = () => {
    const upstream = Number(input("upstream").value);
    const downstream = Number(input("downstream").value);
    const ratio = Number(input("ratio").value);
    const chosen = Number(input("echo").value);
    input("upstream-value").textContent = upstream;
    input("downstream-value").textContent = downstream;
    input("ratio-value").textContent = ratio.toFixed(2);
    input("echo-value").textContent = chosen;
    input("times").replaceChildren(...curves.map((curve) => drawn(curve, ratio, chosen)));
    const idle = Math.max(0, 1 - chosen / ratio);
    const gains = curves.flatMap((curve) => {
      const times = timesOf(curve, ratio);
      const mine = times.find((one) => one.e === chosen);
      return mine ? [`${(times[0].time / mine.time).toFixed(2)} (${curve.name})`] : [];
    });
    input("answer").textContent =
      `At R = ${ratio.toFixed(2)} and e = ${chosen} the accelerator idles ${(100 * idle).toFixed(0)} % of the time; ` +
      `times faster than without echoing: ${gains.join(", ")}.`;
  };

  const fromTimes = () => {
    input("ratio").value = Number(input("upstream").value) / Number(input("downstream").value);
    show();
  };
  const fromRatio = () => {
    input("upstream").value = Number(input("ratio").value) * Number(input("downstream").value);
    show();
  };
  input("upstream").addEventListener("input", fromTimes);
  input("downstream").addEventListener("input", fromTimes);
  input("ratio").addEventListener("input", fromRatio);
  input("echo").addEventListener("input", show);
  show();
})();
