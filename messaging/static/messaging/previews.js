/**
 * Small pictures of the images in a thread, fetched when they come into sight.
 *
 * A canvas, not an image element: the page's policy stays as it is, since an address of a fetched content would have to be
 * allowed, and what is painted is no document whatever its bytes are. The server calls only real images by these types.
 */

import { pixels } from "./pixels.js";
import { isForNow } from "./rest.js";

const SHOWN = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const MOST_BYTES = 5_000_000; // larger ones are fetched on a click only
const MOST_PIXELS = 25_000_000; // 100 MB while it is painted; a telephone's photo has 12 million

export class Previews {
  #wanted = new Map(); // button in sight -> its file
  #files = new WeakMap(); // button -> its file
  #painting = false;

  constructor(thread, client) {
    this.client = client;
    this.sight = new IntersectionObserver((entries) => this.#saw(entries), { root: thread });
  }

  /** Paints a file above its name as soon as the button is in sight, if it is an image. */
  watch(button, file) {
    if (!SHOWN.has(file.type) || file.size > MOST_BYTES) return;
    button.classList.add("picture");
    button.prepend(document.createElement("canvas"));
    this.#files.set(button, file);
    this.sight.observe(button);
  }

  /** Paints what is in sight, one after the other, while there is a connection. */
  async look() {
    if (this.#painting) return;
    this.#painting = true;
    for (const [button, file] of this.#wanted) {
      if (this.client.phase !== "open") break;
      this.#wanted.delete(button);
      if (button.isConnected && !(await this.#paint(button, file))) break;
    }
    this.#painting = false;
  }

  #saw(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#wanted.set(target, this.#files.get(target));
      else this.#wanted.delete(target);
    }
    this.look();
  }

  /** One that is no picture after all, or too large a one, is a file like others. Returns false if it can't be had now: it stays wanted. */
  async #paint(button, file) {
    try {
      const content = await this.client.download(file);
      if (pixels(await content.arrayBuffer(), file.type) > MOST_PIXELS) throw new Error("It would take too much memory.");
      paint(button.querySelector("canvas"), await createImageBitmap(content));
    } catch (error) {
      if (isForNow(error)) return !this.#wanted.set(button, file);
      button.classList.remove("picture");
      button.querySelector("canvas").remove();
    }
    this.sight.unobserve(button);
    return true;
  }
}

/** Covers the canvas with the picture's middle; a small picture keeps its size. */
function paint(canvas, picture) {
  const scale = globalThis.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const share = Math.min(scale, Math.max(canvas.width / picture.width, canvas.height / picture.height));
  const [width, height] = [picture.width * share, picture.height * share];
  canvas.getContext("2d").drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  picture.close();
}
