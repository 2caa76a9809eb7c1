/** What the server announces in a conversation, by messages of kind `system`. */

/** What a message announces: {event: "joined" | "left" | "role" | "title", user?, name?, role?, title?}; {} if it is none. */
export function announced({ kind, body }) {
  if (kind !== "system") return {};
  try {
    return JSON.parse(body);
  } catch {
    return {}; // it was removed
  }
}

/** The same for people; `nameOf` knows users by their id. */
export function announcement(message, nameOf) {
  const { event, user, name = nameOf(user), role, title } = announced(message);
  if (event === "joined") return `${name} joined`;
  if (event === "left") return `${name} left`;
  if (event === "role") return `${name} is now ${role === "admin" ? "an admin" : "a member"}`;
  if (event === "title") return title ? `The conversation is now called “${title}”` : "The conversation has no title now";
  return message.body;
}
