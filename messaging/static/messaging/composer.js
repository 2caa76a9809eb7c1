/** Where a message is written or edited: the text field of one device, its keys, and what they mean. */

export class Composer {
  #editing = null; // the message that is being changed

  /** `conversation` gives the one on screen, or null; `sent` is called after a message or an edit went out, `tell` with what hinders it, or "". */
  constructor(element, { client, conversation, sent, tell }) {
    Object.assign(this, { element, client, conversation, sent, tell });
    this.text = element.querySelector("textarea");
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    element.querySelector(".cancel").addEventListener("click", () => this.stopEditing());
    this.text.addEventListener("input", () => this.#typed());
    this.text.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** Puts a message's text into the field, to be changed. */
  edit(message) {
    this.#editing = message;
    this.#fill(this.conversation().messages.get(message).body);
    this.element.querySelector(".editing").hidden = false;
    this.text.focus();
  }

  stopEditing() {
    if (!this.#editing) return;
    this.#editing = null;
    this.element.querySelector(".editing").hidden = true;
    this.#fill("");
  }

  /** Gives a refused text back, unless something else is being written. */
  giveBack(body) {
    if (body && !this.text.value) this.#fill(body);
  }

  /** The user turns to another conversation: whatever is in the field is not typed in this one any more. */
  leave() {
    this.stopEditing();
    if (this.text.value) this.#say(false);
  }

  #pressed(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#submit();
    }
    if (event.key === "Escape") this.stopEditing();
    if (event.key === "ArrowUp" && !this.text.value) this.#editNewest(event);
  }

  #typed() {
    this.#grow();
    if (!this.#editing) this.#say(this.text.value !== "");
  }

  #say(typing) {
    const conversation = this.conversation();
    if (conversation) this.client.typing({ conversation: conversation.id, typing });
  }

  #submit() {
    const body = this.text.value.trim();
    if (!body || !this.conversation()) return;
    this.tell("");
    try {
      if (this.#editing) this.client.edit({ message: this.#editing, body });
      else this.client.send({ conversation: this.conversation().id, body });
    } catch (error) {
      return this.tell(error.message); // the text stays in the field
    }
    this.stopEditing();
    this.#fill("");
    this.sent();
  }

  #editNewest(event) {
    const { outbox, session } = this.client;
    const isChanging = (id) => outbox.some(({ frame }) => frame.message === id);
    const isMine = ({ id, user, deleted, kind = "text" }) => user === session.user && !deleted && kind === "text" && !isChanging(id);
    const newest = this.conversation()?.visible().findLast(isMine);
    if (!newest) return;
    event.preventDefault();
    this.edit(newest.id);
  }

  #fill(body) {
    this.text.value = body;
    this.#grow();
  }

  #grow() {
    const { text } = this;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  }
}
