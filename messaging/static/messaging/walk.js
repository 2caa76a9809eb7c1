/** Walking through a thread by key: the arrows go from message to message, and Tab through the buttons of that one only. */

const STEPS = { ArrowUp: -1, ArrowDown: 1 };

/** `thread` scrolls and may have the focus itself; `list` has the messages, whose buttons Tab passes by (tabindex -1). */
export function walkByKey(thread, list) {
  thread.addEventListener("keydown", (event) => {
    const next = STEPS[event.key] && neighbour(list, STEPS[event.key]);
    if (!next) return; // the thread scrolls
    event.preventDefault();
    next.focus();
  });
  list.addEventListener("focusin", ({ target }) => open(target.closest(".message"), true));
  list.addEventListener("focusout", ({ target, relatedTarget }) => {
    const message = target.closest(".message");
    if (!message?.contains(relatedTarget)) open(message, false);
  });
}

/** The message beside the one in use; the newest one if none is, and the step is back. */
function neighbour(list, step) {
  const messages = [...list.querySelectorAll(".message")];
  const here = messages.indexOf(document.activeElement.closest(".message"));
  return here < 0 ? step < 0 && messages.at(-1) : messages[here + step];
}

function open(message, isOpen) {
  for (const button of message?.querySelectorAll("button") ?? []) button.tabIndex = isOpen ? 0 : -1;
}
