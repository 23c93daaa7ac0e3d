// Measures the page it stands in: sideways overflow, contrast of every text, sizes of pictures.
"use strict";
const channels = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
const luminance = (rgb) => {
  const [r, g, b] = rgb.slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const rgba = channels(getComputedStyle(at).backgroundColor);
    if (rgba.length === 3 || rgba[3] === 1) return rgba;
  }
  return [255, 255, 255];
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || ["SCRIPT", "STYLE", "title", "desc"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const drawn = element.namespaceURI.endsWith("svg");
  const front = luminance(channels(drawn ? style.fill : style.color));
  const back = luminance(behind(element));
  const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
}
const root = document.documentElement;
const measured = document.createElement("pre");
measured.id = "measured";
measured.textContent = JSON.stringify({
  overflow_px: root.scrollWidth - root.clientWidth,
  faint,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  pictures: [...document.querySelectorAll("svg")].map((svg) =>
    Math.round(svg.getBoundingClientRect().width)),
  word_px: Math.round(parseFloat(getComputedStyle(document.querySelector(".word")).fontSize)),
});
document.body.append(measured);
