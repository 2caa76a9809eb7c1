/** Whether somebody is at this window: away when the page is hidden, or when nothing was touched for five minutes. */

const IDLE_MS = 300_000;
const TOUCHES = ["pointerdown", "pointermove", "keydown", "wheel"];

/** Event `change` when `state` has changed between "online" and "away". */
export class Attention extends EventTarget {
  #touched = performance.now();

  constructor({ idle = IDLE_MS, page = document } = {}) {
    super();
    Object.assign(this, { idle, page, state: "online" });
    for (const touch of TOUCHES) page.addEventListener(touch, () => this.#touch(), { capture: true, passive: true });
    page.addEventListener("visibilitychange", () => this.#touch());
    this.#look();
  }

  #touch() {
    this.#touched = performance.now();
    if (this.state === "away" || this.page.visibilityState === "hidden") this.#look();
  }

  /** Looks now, and again when the time of an untouched page would be over. */
  #look() {
    clearTimeout(this.timer);
    const left = this.#touched + this.idle - performance.now();
    const isHere = this.page.visibilityState !== "hidden" && left > 0;
    if (isHere) this.timer = setTimeout(() => this.#look(), left);
    if (isHere === (this.state === "online")) return;
    this.state = isHere ? "online" : "away";
    this.dispatchEvent(new Event("change"));
  }
}
