/**
 * Who is typing: what this device says of its own user, and how long it believes what it hears of others.
 *
 * Nothing of it is stored or repeated. A device says it at most every 3 s while its user types, and believes it for 6 s, so
 * that one lost frame changes nothing and a lost device stops by itself.
 */

const SAY_MS = 3_000;
const BELIEVE_MS = 6_000;

export class Typists {
  #said = new Map(); // conversation -> moment at which "typing" was last sent
  #others = new Map(); // conversation -> Map(user -> moment of its end)

  /** The other users who are typing in a conversation, in the order in which they began. */
  of(conversation) {
    return [...(this.#others.get(conversation)?.keys() ?? [])];
  }

  /** The moment at which the next one counts as stopped, or null. */
  get deadline() {
    const ends = [...this.#others.values()].flatMap((users) => [...users.values()]);
    return ends.length ? Math.min(...ends) : null;
  }

  /** Whether the others are to be told that the user types, or types no more. */
  isNews(conversation, typing, now) {
    const said = this.#said.get(conversation) ?? -Infinity;
    if (!typing) return this.#said.delete(conversation) && now < said + BELIEVE_MS;
    if (now < said + SAY_MS) return false;
    this.#said.set(conversation, now);
    return true;
  }

  /** A message goes out: that ends the typing for everybody, without a frame. */
  sent(conversation) {
    this.#said.delete(conversation);
  }

  /** The server told of somebody else. */
  heard({ conversation, user, typing = true }, now) {
    if (!typing) return this.stopped(conversation, user);
    if (!this.#others.has(conversation)) this.#others.set(conversation, new Map());
    this.#others.get(conversation).set(user, now + BELIEVE_MS);
  }

  /** Somebody stopped, or sent what they were typing. */
  stopped(conversation, user) {
    this.#others.get(conversation)?.delete(user);
  }

  /** Forgets those whom nothing was heard of for too long. */
  over(now) {
    for (const users of this.#others.values())
      for (const [user, end] of users) if (end <= now) users.delete(user);
  }

  /** The conversation is left, or starts anew. */
  leave(conversation) {
    this.#said.delete(conversation);
    this.#others.delete(conversation);
  }

  /** The connection is lost: nobody is known to type. */
  lose() {
    this.#said.clear();
    this.#others.clear();
  }
}
