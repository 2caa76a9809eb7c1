/** Whether the end of a thread is in sight: then the thread follows new messages, and what it shows is read. */

const NEAR_PX = 48; // scrolled this near to it, the end is in sight

export class End {
  #size = ""; // of the thread when it was last looked at

  constructor(thread, { button, changed }) {
    Object.assign(this, { thread, button, changed, isInSight: true });
    thread.addEventListener("scroll", () => this.#look());
    button.addEventListener("click", () => {
      this.go();
      changed();
    });
    new ResizeObserver(() => this.follow()).observe(thread);
  }

  go() {
    this.isInSight = true;
    this.thread.scrollTop = this.thread.scrollHeight;
    this.#size = this.#measure();
  }

  /** The thread has grown, or shrunk. */
  follow() {
    if (this.isInSight) this.go();
  }

  /** Offers the way to what came in meanwhile. */
  draw(unread) {
    const count = this.isInSight ? 0 : unread;
    this.button.hidden = !count;
    this.button.textContent = count ? `${count} new ${count === 1 ? "message" : "messages"}` : "";
  }

  /** The browser scrolls, too, where the size has changed; only the user turns away from the end. */
  #look() {
    if (this.isInSight && this.#size !== this.#measure()) return this.go();
    const { scrollHeight, scrollTop, clientHeight } = this.thread;
    const wasInSight = this.isInSight;
    this.isInSight = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    if (this.isInSight !== wasInSight) this.changed();
  }

  #measure() {
    const { scrollHeight, clientHeight } = this.thread;
    return `${clientHeight} of ${scrollHeight}`;
  }
}
