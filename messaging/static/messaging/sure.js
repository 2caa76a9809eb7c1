/** A button that asks first: the first click asks, a second one within a few seconds means it. A double click is one. */

const SURE_MS = 4_000; // how long the question stands

/** `question` gives its words, `deed` is done once the user is sure. The button has its name in a hidden span. */
export function askFirst(button, { question, deed }) {
  const text = button.querySelector("span");
  const name = text.textContent;
  const ask = (isAsking, words) => {
    button.classList.toggle("sure", isAsking);
    text.classList.toggle("hidden", !isAsking);
    text.textContent = words;
  };
  button.addEventListener("click", ({ detail }) => {
    if (detail > 1) return; // which of them it is in a row; by key it is 0
    if (button.classList.contains("sure")) return deed();
    ask(true, question());
    setTimeout(() => ask(false, name), SURE_MS);
  });
}
