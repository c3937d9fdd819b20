// One line of at most `length` letters, cut in the middle: names of groups often differ at their end (as `shorten` on the server).
export function shorten(text, length) {
  const line = text.split(/\s+/).filter(Boolean).join(" ");
  const letters = [...line];
  if (letters.length <= length) return line;
  const head = Math.floor((length - 1) / 2);
  return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - (length - 1 - head)).join("")}`;
}
