// Small comforts. Without this file every page still works.
"use strict";

// How many characters are left; quiet until it matters.
for (const area of document.querySelectorAll("textarea[data-counter]")) {
  const counter = document.getElementById(area.dataset.counter);
  const limit = area.maxLength;
  const update = () => {
    const left = limit - area.value.length;
    counter.textContent = area.value ? `${left} left` : "";
    counter.classList.toggle("counter-low", left < limit / 10);
  };
  area.addEventListener("input", update);
  update();
}

const size = (bytes) => bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;

// Show the chosen picture, and say at once if it is too large to be accepted.
for (const input of document.querySelectorAll("input[type=file][data-preview]")) {
  const preview = document.getElementById(input.dataset.preview);
  let address = "";
  input.addEventListener("change", () => {
    URL.revokeObjectURL(address);
    preview.replaceChildren();
    const [file] = input.files;
    preview.hidden = !file;
    if (!file) return;
    const tooLarge = file.size > Number(input.dataset.maxBytes);
    input.setCustomValidity(tooLarge ? "This picture is too large." : "");
    const caption = document.createElement("span");
    caption.textContent = `${file.name}, ${size(file.size)}${tooLarge ? ": too large" : ""}`;
    if (!tooLarge && file.type.startsWith("image/")) {
      const image = document.createElement("img");
      image.alt = "";
      image.src = address = URL.createObjectURL(file);
      image.addEventListener("error", () => image.remove());
      preview.append(image);
    }
    preview.append(caption);
    preview.classList.toggle("preview-wrong", tooLarge);
  });
}

// "3 minutes ago" reads better than a date; the date stays in the tooltip.
const steps = [
  ["second", 60], ["minute", 60], ["hour", 24], ["day", 7], ["week", 4.35], ["month", 12], ["year", Infinity],
];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
for (const element of document.querySelectorAll("time[datetime]")) {
  let amount = (new Date(element.dateTime) - Date.now()) / 1000;
  if (Number.isNaN(amount)) continue;
  element.title = element.textContent;
  for (const [unit, length] of steps) {
    if (Math.abs(amount) < length) {
      element.textContent = unit === "second" ? "just now" : words.format(Math.round(amount), unit);
      break;
    }
    amount /= length;
  }
}
