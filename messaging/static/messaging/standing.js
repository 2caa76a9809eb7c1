/**
 * What a message's ticks say, and how many messages are unread: pure functions over a conversation's marks.
 *
 * A device has a message's newest state when its mark is at or beyond the message's `seq`; an edit takes ticks back
 * until it is acknowledged. Delivered means: on every other device. Read means: by every other member, on any device.
 */

/** How far the other devices have a stored message: "stored", "delivered" or "read". `roster` maps device to user, or is null. */
export function standing(message, conversation, roster) {
  const { summary, marks } = conversation;
  if (summary) {
    if (summary.lowest_read >= message.seq) return "read";
    return summary.lowest_delivered >= message.seq ? "delivered" : "stored";
  }
  const devices = roster ?? new Map([...marks.values()].map(({ device, user }) => [device, user]));
  const others = [...devices].filter(([device]) => device !== message.device);
  const has = (device, mark) => (marks.get(device)?.[mark] ?? 0) >= message.seq;
  if (!others.length || !others.every(([device]) => has(device, "delivered"))) return "stored";
  const elsewhere = others.filter(([, user]) => user !== message.user);
  const readers = elsewhere.length ? elsewhere : others; // alone with oneself, one's own devices are the others
  const readBy = new Set(readers.filter(([device]) => has(device, "read")).map(([, user]) => user));
  return readers.every(([, user]) => readBy.has(user)) ? "read" : "delivered";
}

/** The greatest `read` of the user's devices, this one included. */
export function readUpto(conversation, user) {
  const own = [...conversation.marks.values()].filter((mark) => mark.user === user);
  return Math.max(conversation.read, conversation.readElsewhere, ...own.map((mark) => mark.read ?? 0));
}

/** Undeleted messages of others, created after what the user has read. */
export function unread(conversation, user) {
  const upto = readUpto(conversation, user);
  const isNew = ({ position, deleted, kind, user: author }) => position > upto && !deleted && kind !== "system" && author !== user;
  return conversation.visible().filter(isNew).length;
}
