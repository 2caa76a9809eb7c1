/**
 * Where a message is written or edited: the text field of one device, its keys, and what they mean.
 *
 * Law: what somebody wrote is not lost. What the field has no room for waits in its conversation: a draft while the user
 * is elsewhere or edits, a text that was refused.
 */

export class Composer {
  #editing = null; // the message that is being changed
  #shown = null; // the conversation whose text is in the field
  #waiting = new Map(); // conversation -> what comes into its field next: [{body, message}]

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

  /** The user turns to this conversation: what is in the field waits in the other one. Call it before the screen does. */
  turn(conversation) {
    if (conversation === this.#shown) return;
    if (this.text.value) this.#say(false);
    if (this.#shown) this.#putBy();
    const isKept = this.#shown === null && this.text.value; // it was written before there was a conversation
    this.#shown = conversation;
    if (!isKept) this.#next();
  }

  /** Whether the user may write in the conversation on screen. */
  allow(isAllowed) {
    this.text.readOnly = !isAllowed;
    this.text.placeholder = isAllowed ? "Message" : "You are not in this conversation any more";
    this.element.querySelector(".send").disabled = !isAllowed;
  }

  /** Puts a message's text into the field, to be changed. */
  edit(message) {
    this.#putBy();
    this.#put({ body: this.#known(message).body, message });
    this.text.focus();
  }

  stopEditing() {
    if (this.#editing) this.#next();
  }

  /** Gives a refused text, or the change of a message, back to its conversation. */
  giveBack(conversation, { body, message = null }) {
    if (!body) return;
    this.#waiting.set(conversation, [...(this.#waiting.get(conversation) ?? []), { body, message }]);
    if (conversation === this.#shown && !this.text.value && !this.#editing) this.#next();
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
    if (!body || !this.conversation() || this.text.readOnly) return;
    this.tell("");
    try {
      if (this.#editing) this.client.edit({ message: this.#editing, body });
      else this.client.send({ conversation: this.conversation().id, body });
    } catch (error) {
      return this.tell(error.message); // the text stays in the field
    }
    this.#next();
    this.sent();
  }

  #editNewest(event) {
    const { outbox, session } = this.client;
    const isChanging = (id) => outbox.some(({ frame }) => frame.message === id);
    const isMine = ({ id, user, deleted, kind = "text" }) => user === session.user && !deleted && kind === "text" && !isChanging(id);
    const newest = !this.text.readOnly && this.conversation()?.visible().findLast(isMine);
    if (!newest) return;
    event.preventDefault();
    this.edit(newest.id);
  }

  /** What is in the field waits until it is empty again; an edit only if it has changed anything. */
  #putBy() {
    const body = this.text.value;
    const message = this.#editing;
    const isBegun = body.trim() && body !== this.#known(message)?.body;
    if (isBegun) this.#waiting.set(this.#shown, [{ body, message }, ...(this.#waiting.get(this.#shown) ?? [])]);
  }

  /** Empties the field for what waits. */
  #next() {
    const [next = { body: "" }, ...rest] = this.#waiting.get(this.#shown) ?? [];
    this.#waiting.set(this.#shown, rest);
    this.#put(next);
  }

  /** What changes a message that is gone by now is a text of its own. */
  #put({ body, message = null }) {
    const known = this.#known(message);
    this.#editing = known && !known.deleted ? message : null;
    this.element.querySelector(".editing").hidden = !this.#editing;
    this.text.value = body;
    this.#grow();
  }

  #known(message) {
    return this.client.conversations.get(this.#shown)?.messages.get(message);
  }

  #grow() {
    const { text } = this;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  }
}
