/** What the buttons of a message do: change it, delete it, tell who has it, fetch its files. */

const KEPT_MS = 60_000; // how long a fetched file is held for the browser, which may ask where to put it

/** Listens to the messages of a pane. */
export function listenToTools(list, pane) {
  const deeds = {
    edit: ({ message }) => pane.composer.edit(message),
    delete: ({ element }) => ask(element, { isAsking: true }),
    no: ({ element }) => ask(element, { isAsking: false }),
    yes: ({ message, element }) => remove(pane, message, element),
    ticks: ({ message, button }) => pane.desk.showReceipts(pane, pane.conversation.messages.get(message), button),
    file: ({ button }) => fetchFile(pane, button),
  };
  list.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    const element = target.closest(".message");
    const deed = button && Object.keys(deeds).find((name) => button.classList.contains(name));
    if (deed) deeds[deed]({ message: element.dataset.message, element, button });
  });
  list.addEventListener("keydown", ({ key, target }) => {
    if (key === "Escape" && target.closest(".asking")) ask(target.closest(".message"), { isAsking: false });
  });
  list.addEventListener("focusout", ({ target, relatedTarget }) => {
    const asking = target.closest(".asking");
    if (asking && !asking.contains(relatedTarget)) show(asking.closest(".message"), { isAsking: false });
  });
}

/** Asks in place of the tools, or lets it be; either way the focus goes where a key does no harm. */
function ask(element, { isAsking }) {
  show(element, { isAsking });
  element.querySelector(isAsking ? ".no" : ".delete").focus({ preventScroll: true });
}

function show(element, { isAsking }) {
  element.querySelector(".asking").hidden = !isAsking;
  for (const tool of element.querySelectorAll(".tools > button")) tool.hidden = isAsking;
}

/** The button goes with the message's text; whoever pressed it by key stays at the message. */
function remove({ client }, message, element) {
  client.remove({ message });
  element.focus({ preventScroll: true });
}

async function fetchFile({ client, notice }, { dataset }) {
  const file = JSON.parse(dataset.file);
  try {
    keep(await client.download(file), file.name);
  } catch (error) {
    notice(`${file.name} was not fetched. ${error.message}`);
  }
}

/** Hands a content to the browser, which keeps it where it keeps downloads. */
function keep(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}
